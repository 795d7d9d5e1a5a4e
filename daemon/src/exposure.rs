//! Whether the daemon may listen where it is told to: where others can reach it, somebody must check who
//! comes.

use std::net::SocketAddr;

use hone_config::Config;

/// The address can be reached by others, and nobody checks them.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} can be reached by others and there are no keys yet; make one on this machine (`hone keys create \
     --name operator --scope admin`), or listen on 127.0.0.1, or put a proxy that checks its callers in \
     front and set auth.allow_unauthenticated = true"
)]
pub struct Exposed(SocketAddr);

/// Refuses an address that is open to everybody, unless it was asked for; then it warns.
///
/// # Errors
/// [`Exposed`]
pub fn check(config: &Config, has_keys: bool) -> Result<(), Exposed> {
    let listen = config.server.listen;
    let allowed = config.auth.allow_unauthenticated;
    if !has_keys && !listen.ip().is_loopback() && !allowed {
        return Err(Exposed(listen));
    }
    if allowed && has_keys {
        tracing::warn!(
            "auth.allow_unauthenticated says nothing: there are keys, so each request needs one"
        );
    } else if allowed {
        tracing::warn!(
            address = %listen,
            "auth.allow_unauthenticated is set and there are no keys: whoever reaches this address may ask, \
             read every prompt, train and promote"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_address_needs_keys_or_a_word() {
        let refused = |listen: &str, allowed, has_keys| {
            let mut config = Config::defaults(std::path::Path::new("d")).unwrap();
            config.server.listen = listen.parse().unwrap();
            config.auth.allow_unauthenticated = allowed;
            check(&config, has_keys).err().map(|error| error.to_string())
        };
        for open in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80"] {
            let words = refused(open, false, false).unwrap();
            assert!(words.contains("hone keys create") && words.contains(open), "{words}");
            assert_eq!(refused(open, true, false), None);
            assert_eq!(refused(open, false, true), None);
        }
        for own in ["127.0.0.1:80", "127.0.0.2:80", "[::1]:80"] {
            assert_eq!(refused(own, false, false), None);
        }
    }
}
