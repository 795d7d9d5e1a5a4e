//! Why a call to the daemon failed, in words that say what to do.

/// A call that gave no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers at {url}; start one with `hone serve`, or name another with --url")]
    Unreachable {
        /// Where.
        url: String,
    },
    /// The daemon said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status code.
        status: u16,
        /// Its own words.
        message: String,
        /// Its word for programs.
        code: Option<String>,
        /// When to try again, in seconds.
        retry_after: Option<f64>,
    },
    /// Something else than Hone listens there, or another version of it.
    #[error("{url} answered something that is not Hone's ({reason}); is --url right?")]
    Foreign {
        /// Where.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection broke in the middle.
    #[error(
        "the connection to {url} broke ({reason}); look whether the daemon still runs (`hone status`)"
    )]
    Broken {
        /// Where.
        url: String,
        /// How.
        reason: String,
    },
    /// There is TLS, and it is not to be trusted; or there is none.
    #[error(
        "the connection to {url} is not to be trusted ({reason}); --ca names the file of the authority that signed \
         its certificate"
    )]
    Untrusted {
        /// Where.
        url: String,
        /// What TLS says.
        reason: String,
    },
    /// A file of authorities that is none.
    #[error("{} has no authorities for --ca: {reason}", file.display())]
    Authority {
        /// The file.
        file: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Not an address.
    #[error(
        "`{url}` is not an address; it looks like http://127.0.0.1:8080 or https://hone.example.com"
    )]
    Address {
        /// What was given.
        url: String,
    },
    /// Not a key. It is not repeated: it may be most of one.
    #[error(
        "the API key has a line break or another character that no key has; look at --api-key or HONE_API_KEY"
    )]
    Key,
    /// A word that names nothing.
    #[error("`{given}` cannot name {what}; the lists show what there is")]
    Nameless {
        /// An adapter, a cycle.
        what: &'static str,
        /// What was given.
        given: String,
    },
}
