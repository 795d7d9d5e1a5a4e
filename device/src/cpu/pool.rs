//! A fork-join pool for kernels: parts of one job are claimed one by one by the caller and the workers.
//!
//! A decode step forks some thirty times within a millisecond, so idle workers spin for a moment before they sleep. They
//! must not spin for long: a training process shares the cores. The caller takes parts itself and waits only for parts
//! that a worker has begun, so a sleeping or displaced worker delays nobody.

use std::{
    cell::UnsafeCell,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{JoinHandle, Thread},
    time::{Duration, Instant},
};

/// How long an idle worker stays awake.
const SPIN: Duration = Duration::from_micros(40);
/// Parts of a job fit in this many bits of the claim word.
const PART_BITS: u32 = 16;
const PART_MASK: u64 = (1 << PART_BITS) - 1;

type Job = *const (dyn Fn(usize) + Sync);

/// Threads that run parts of one job at a time.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held during a job. Whoever finds it taken runs its job alone.
    turn: Mutex<u32>,
}

struct Shared {
    /// Epoch (32 bits), number of parts (16), next part (16). A successful claim proves that the job of that epoch is
    /// still waiting for the claimed part, so its closure is alive.
    claim: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    done: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    sleepers: Vec<Sleeper>,
}

#[derive(Default)]
struct Sleeper {
    asleep: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

// SAFETY: `job` is written only by the holder of `turn` while no part can be claimed, and read only after a claim.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointer in `job` is used only as described above.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

impl Pool {
    /// A pool of `threads`, the caller's included. With 1 everything runs on the caller.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let count = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            claim: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            done: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleepers: (0..count).map(|_| Sleeper::default()).collect(),
        });
        let mut pool = Self { shared, workers: Vec::new(), turn: Mutex::new(0) };
        for index in 0..count {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name(format!("hone-kernel-{index}"))
                .spawn(move || work(&shared, index))?;
            if let Ok(mut thread) = pool.shared.sleepers[index].thread.lock() {
                *thread = Some(worker.thread().clone());
            }
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads, the caller's included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `body(0)`, `body(1)`, … `body(parts - 1)`, in any order and in parallel; returns when all are done.
    pub(crate) fn run(&self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
        let alone = || (0..parts).for_each(body);
        if parts <= 1 || self.workers.is_empty() || parts as u64 > PART_MASK {
            return alone();
        }
        let Ok(mut epoch) = self.turn.try_lock() else { return alone() };
        let shared = &*self.shared;
        *epoch = epoch.wrapping_add(1);
        // SAFETY: `turn` is held and the last job's parts are all claimed and done, so no worker reads the cell. The
        // closure outlives the job because this function waits for every part.
        unsafe {
            *shared.job.get() =
                Some(std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Job>(body))
        };
        shared.done.store(0, Ordering::Relaxed);
        let word = (u64::from(*epoch) << 32) | ((parts as u64) << PART_BITS);
        shared.claim.store(word, Ordering::SeqCst);
        for sleeper in &shared.sleepers {
            if sleeper.asleep.load(Ordering::SeqCst)
                && let Ok(thread) = sleeper.thread.lock()
                && let Some(thread) = &*thread
            {
                thread.unpark();
            }
        }
        shared.take_parts(*epoch);
        wait_for(&shared.done, parts);
        drop(epoch);
        if shared.panicked.swap(false, Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("a kernel thread panicked"));
        }
    }

    /// Splits `0..count` into ranges of at least `least` and runs them in parallel.
    pub(crate) fn ranges(&self, count: usize, least: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        let least = least.max(1);
        // A few parts for each thread, so that a late or slow thread takes fewer.
        let parts = (count / least).clamp(1, self.threads() * 4);
        if parts == 1 || self.workers.is_empty() {
            return body(0..count);
        }
        let size = count.div_ceil(parts).next_multiple_of(least);
        let parts = count.div_ceil(size);
        self.run(parts, &|part| body(part * size..((part + 1) * size).min(count)));
    }
}

impl Shared {
    /// Claims and runs parts of the job of `epoch` until none is left.
    fn take_parts(&self, epoch: u32) {
        loop {
            let word = self.claim.load(Ordering::Acquire);
            let (parts, next) = ((word >> PART_BITS) & PART_MASK, word & PART_MASK);
            if (word >> 32) as u32 != epoch || next >= parts {
                return;
            }
            if self
                .claim
                .compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
            {
                continue;
            }
            // SAFETY: the claim succeeded, so this job waits for the part: the cell is not written and the closure lives.
            let run = || unsafe {
                if let Some(job) = *self.job.get() {
                    (*job)(next as usize);
                }
            };
            if catch_unwind(AssertUnwindSafe(run)).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.done.fetch_add(1, Ordering::Release);
        }
    }
}

/// Waits until so many parts are done. Whoever waits for less than a whole job may wait for its first parts only: those were
/// claimed before its own.
pub(crate) fn wait_for(done: &AtomicUsize, parts: usize) {
    let mut spins = 0_u32;
    while done.load(Ordering::Acquire) < parts {
        spins += 1;
        // A displaced thread holds a part: leave it the core.
        if spins.is_multiple_of(512) { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
}

fn work(shared: &Shared, index: usize) {
    let sleeper = &shared.sleepers[index];
    let mut seen = 0_u32;
    let mut idle_since = Instant::now();
    let mut spins = 0_u32;
    while !shared.stop.load(Ordering::Relaxed) {
        let word = shared.claim.load(Ordering::SeqCst);
        let epoch = (word >> 32) as u32;
        if epoch != seen {
            seen = epoch;
            shared.take_parts(epoch);
            idle_since = Instant::now();
            continue;
        }
        spins = spins.wrapping_add(1);
        if !spins.is_multiple_of(64) || idle_since.elapsed() < SPIN {
            std::hint::spin_loop();
            continue;
        }
        sleeper.asleep.store(true, Ordering::SeqCst);
        // A job published before the flag was seen would not wake us, so look again.
        let unchanged = shared.claim.load(Ordering::SeqCst) == word;
        if unchanged && !shared.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        sleeper.asleep.store(false, Ordering::SeqCst);
        idle_since = Instant::now();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A panic inside of a worker was caught and reported by `run`.
            drop(worker.join());
        }
    }
}

/// Rows of so many numbers that are worth a fork: a few microseconds of work.
pub(super) fn least_rows(inputs: usize) -> usize {
    4096_usize.div_ceil(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_exactly_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            for parts in [0, 1, 2, 7, 100] {
                let counts: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                pool.run(parts, &|part| {
                    counts[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn thousands_of_jobs_with_pauses() {
        let pool = Pool::new(3).unwrap();
        let total = AtomicUsize::new(0);
        for job in 0..5000 {
            pool.run(8, &|part| {
                total.fetch_add(part, Ordering::Relaxed);
            });
            if job % 500 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        assert_eq!(total.load(Ordering::Relaxed), 5000 * 28);
    }

    #[test]
    fn callers_at_once_do_not_wait_for_each_other_forever() {
        let pool = Pool::new(2).unwrap();
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        pool.run(4, &|_| {
                            total.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 500 * 4);
    }

    #[test]
    fn a_panic_in_a_part_reaches_the_caller() {
        let pool = Pool::new(2).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| pool.run(4, &|part| assert_ne!(part, 3))));
        assert!(caught.is_err());
        let ran = AtomicUsize::new(0);
        pool.run(4, &|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn ranges_cover_everything() {
        let pool = Pool::new(2).unwrap();
        for (count, least) in [(0, 1), (1, 4), (13, 4), (64, 1), (100, 16)] {
            let counts: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            pool.ranges(count, least, &|range| {
                for i in range {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }
}
