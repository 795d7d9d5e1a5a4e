//! How many files this process may have open.

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer are refused at the start. The daemon itself holds about 40 (database, weights, pipes, threads' polls); the rest is for
/// connections and for what is read beside them. With less it says that it is ready and answers nobody.
pub const LEAST: u64 = 128;

/// Takes as many as the system lets this process have, and refuses to start with too few.
///
/// # Errors
/// One sentence with the figure.
pub fn take() -> anyhow::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Not being allowed to raise it is no fault as long as there are enough.
    let raised = current < maximum.or(Some(u64::MAX))
        && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let now = if raised { maximum } else { current };
    ensure!(
        now.is_none_or(|files| files >= LEAST),
        "this process may open {} files at once, and serving needs {LEAST} at least; raise the limit \
         (`ulimit -n 1024`, or LimitNOFILE= of the unit)",
        now.unwrap_or_default()
    );
    Ok(())
}
