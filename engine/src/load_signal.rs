//! Writes the load signal, so that the trainer next door sees how busy serving is; its layout is in [`hone_api::load_signal`].

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::FileExt;
use hone_api::UnixMillis;
use hone_api::load_signal::{LoadSignal, SIZE};

const FRESH: Duration = Duration::from_millis(100);
const APART: Duration = Duration::from_millis(1);

/// Writes the load signal.
#[derive(Debug)]
pub struct Publisher {
    file: fs_err::File,
    last: Mutex<Option<(LoadSignal, Instant)>>,
}

impl Publisher {
    /// Makes the file, or takes an old one over, and says that nobody waits.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false) // a trainer may be reading it
            .write(true)
            .open(path)?;
        let publisher = Self { file, last: Mutex::new(None) };
        publisher.write(LoadSignal::default())?;
        Ok(publisher)
    }

    /// Says how busy serving is. Cheap: what changes nothing is written every 100 ms only, and
    /// changes at most every millisecond, but for the step from or to idle, which is written at
    /// once. A signal that cannot be written costs the trainer's throttle and nothing else, so that
    /// is logged and not an error.
    pub fn publish(&self, load: LoadSignal) {
        let due = {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.is_none_or(|(said, at)| {
                let turned = said.is_idle() != load.is_idle();
                let changed = (said.running, said.waiting) != (load.running, load.waiting);
                turned || at.elapsed() >= if changed { APART } else { FRESH }
            })
        };
        if due && let Err(error) = self.write(load) {
            tracing::warn!(%error, "cannot write the pressure page");
        }
    }

    fn write(&self, load: LoadSignal) -> std::io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((load, Instant::now()));
        let bytes = load.encode(UnixMillis::now());
        match self.file.write_at(&bytes, 0)? {
            SIZE => Ok(()),
            _ => Err(std::io::ErrorKind::WriteZero.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> (u32, u32) {
        let page = fs_err::read(path).unwrap();
        let (said, _) = LoadSignal::decode(page.as_slice().try_into().unwrap()).unwrap();
        (said.running, said.waiting)
    }

    #[test]
    fn the_turn_to_busy_and_back_is_written_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pressure");
        let publisher = Publisher::create(&path).unwrap();
        assert_eq!(read(&path), (0, 0));
        for _ in 0..100 {
            publisher.publish(LoadSignal { running: 1, waiting: 2, step_us: 3 });
            assert_eq!(read(&path), (1, 2));
            publisher.publish(LoadSignal::default());
            assert_eq!(read(&path), (0, 0));
        }
    }

    #[test]
    fn changes_are_written_after_a_millisecond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pressure");
        let publisher = Publisher::create(&path).unwrap();
        publisher.publish(LoadSignal { running: 1, waiting: 0, step_us: 0 });
        std::thread::sleep(Duration::from_millis(2));
        publisher.publish(LoadSignal { running: 2, waiting: 0, step_us: 0 });
        assert_eq!(read(&path), (2, 0));
    }

    #[test]
    fn an_old_page_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pressure");
        fs_err::write(&path, [255; SIZE]).unwrap();
        drop(Publisher::create(&path).unwrap());
        assert_eq!(read(&path), (0, 0));
    }
}
