//! How much a key, or an address while there are no keys, may do: requests and tokens a minute, and answers under way at once.
//!
//! A bound of N a minute lets N pass at once and N a minute in the long run. A request for an answer is let
//! in with the tokens of its prompt; what it generates is known at its end, and is made up for before the
//! next one is let in.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use hone_api::key::KeyLimits;

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

const MINUTE: Duration = Duration::from_secs(60);
/// When to look again whether another answer has ended: nobody knows when one will.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why somebody is told to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excess {
    /// What there is too much of, and the bound.
    pub(crate) message: String,
    /// From when on the same request would be let in; `None`: never.
    pub(crate) retry_after: Option<Duration>,
}

/// The bounds of one key or address, and how far they are used.
pub(crate) struct Meter<C: Clock = DefaultClock> {
    /// `this API key`, `this address`.
    who: &'static str,
    clock: C,
    requests: Option<Limiter<C>>,
    tokens: Option<Tokens<C>>,
    most_streams: Option<u32>,
    streams: AtomicU32,
}

impl Meter {
    /// With nothing used yet.
    pub(crate) fn new(who: &'static str, limits: &KeyLimits) -> Self {
        Self::with_clock(who, limits, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Meter<C> {
    fn with_clock(who: &'static str, limits: &KeyLimits, clock: C) -> Self {
        let limiter = |most: NonZeroU32| {
            RateLimiter::direct_with_clock(Quota::per_minute(most), clock.clone())
        };
        let tokens = limits.tokens_per_minute.and_then(NonZeroU32::new);
        Self {
            who,
            requests: limits.requests_per_minute.and_then(NonZeroU32::new).map(limiter),
            tokens: tokens.map(|most| Tokens::new(who, most, clock.now())),
            most_streams: limits.max_streams,
            streams: AtomicU32::new(0),
            clock,
        }
    }

    /// Lets one request in.
    pub(crate) fn request(&self) -> Result<(), Excess> {
        let Some(limiter) = &self.requests else { return Ok(()) };
        limiter.check().map_err(|until| Excess {
            message: format!("{} has made as many requests as it may in a minute", self.who),
            retry_after: Some(until.wait_time_from(self.clock.now())),
        })
    }

    /// Lets a request for answers to a prompt in.
    pub(crate) fn answer(self: &Arc<Self>, prompt: u32) -> Result<Allowance<C>, Excess> {
        let before = self.streams.fetch_add(1, Ordering::SeqCst);
        // Counts from here on, whether or not it is let in.
        let mut allowance = Allowance { meter: Arc::clone(self), paid: 0 };
        if let Some(most) = self.most_streams.filter(|most| before >= *most) {
            return Err(Excess {
                message: format!("{} has {most} answers under way, as many as it may", self.who),
                retry_after: Some(LOOK_AGAIN),
            });
        }
        if let Some(tokens) = &self.tokens {
            tokens.pay(prompt, self.clock.now())?;
            allowance.paid = prompt;
        }
        Ok(allowance)
    }
}

/// Tokens that may still be used. What an answer generates is known when it has been generated, so the level may fall
/// below zero; governor's limiters know no debts.
struct Tokens<C: Clock> {
    who: &'static str,
    most: u32,
    level: Mutex<Level<C::Instant>>,
}

struct Level<I> {
    tokens: f64,
    at: I,
}

impl<C: Clock> Tokens<C> {
    fn new(who: &'static str, most: NonZeroU32, now: C::Instant) -> Self {
        let most = most.get();
        Self { who, most, level: Mutex::new(Level { tokens: most.into(), at: now }) }
    }

    /// Changes the level by what was used or given back, if at least `needs` tokens are there.
    fn change(&self, by: f64, needs: Option<u32>, now: C::Instant) -> Result<(), Excess> {
        let (most, per_second) =
            (f64::from(self.most), f64::from(self.most) / MINUTE.as_secs_f64());
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let passed: Duration = now.duration_since(level.at).into();
        level.tokens = (level.tokens + passed.as_secs_f64() * per_second).min(most);
        level.at = now;
        let missing = needs.map_or(0.0, |needs| f64::from(needs) - level.tokens);
        // Less than a thousandth of a token is an error of rounding.
        if missing > 1e-3 {
            let wait = Duration::from_secs_f64(missing / per_second);
            return Err(Excess {
                message: format!("{} has used the {most} tokens that it may in a minute", self.who),
                retry_after: Some(wait),
            });
        }
        level.tokens = (level.tokens + by).min(most);
        Ok(())
    }

    /// Pays for a prompt.
    fn pay(&self, prompt: u32, now: C::Instant) -> Result<(), Excess> {
        if prompt > self.most {
            let message = format!(
                "the prompt has {prompt} tokens, and {} may use {} in a minute; shorten it",
                self.who, self.most
            );
            return Err(Excess { message, retry_after: None });
        }
        self.change(-f64::from(prompt), Some(prompt), now)
    }

    fn used(&self, generated: u32, now: C::Instant) {
        let _ = self.change(-f64::from(generated), None, now); // nothing is asked for, nothing refused
    }

    fn give_back(&self, prompt: u32, now: C::Instant) {
        let _ = self.change(prompt.into(), None, now); // as above
    }
}

/// A request for answers that was let in; it is one of the key's until this is dropped.
pub(crate) struct Allowance<C: Clock = DefaultClock> {
    meter: Arc<Meter<C>>,
    /// Tokens of the prompt, as long as nobody has said what became of it.
    paid: u32,
}

impl<C: Clock> Allowance<C> {
    /// It is over, and so many tokens were generated.
    pub(crate) fn used(&mut self, generated: u32) {
        self.paid = 0;
        if let Some(tokens) = &self.meter.tokens {
            tokens.used(generated, self.meter.clock.now());
        }
    }
}

impl<C: Clock> Drop for Allowance<C> {
    /// What never began costs nothing.
    fn drop(&mut self) {
        self.meter.streams.fetch_sub(1, Ordering::SeqCst);
        if let Some(tokens) = self.meter.tokens.as_ref().filter(|_| self.paid > 0) {
            tokens.give_back(self.paid, self.meter.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn meter(limits: KeyLimits) -> (Arc<Meter<FakeRelativeClock>>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Arc::new(Meter::with_clock("this API key", &limits, clock.clone())), clock)
    }

    /// The same request after exactly the time that was told, and not before.
    fn holds<T>(clock: &FakeRelativeClock, excess: &Excess, again: impl Fn() -> Result<T, Excess>) {
        let wait = excess.retry_after.unwrap();
        let early = Duration::from_millis(20).min(wait);
        clock.advance(wait - early);
        assert!(again().is_err(), "{excess:?} waits too long");
        clock.advance(early);
        assert!(again().is_ok(), "{excess:?} does not hold");
    }

    #[test]
    fn requests_are_counted_and_come_back_with_time() {
        let (meter, clock) =
            meter(KeyLimits { requests_per_minute: Some(3), ..KeyLimits::default() });
        for _ in 0..3 {
            meter.request().unwrap();
        }
        let excess = meter.request().unwrap_err();
        assert_eq!(excess.retry_after, Some(Duration::from_secs(20)));
        holds(&clock, &excess, || meter.request());
    }

    #[test]
    fn what_was_drawn_is_paid_before_the_next_answer() {
        let (meter, clock) =
            meter(KeyLimits { tokens_per_minute: Some(60), ..KeyLimits::default() });
        let mut first = meter.answer(10).unwrap();
        first.used(170);
        drop(first);
        // 60 a minute are 1 a second: 50 were left, 120 are owed, and the prompt has 5.
        let excess = meter.answer(5).err().unwrap();
        let wait = excess.retry_after.unwrap().as_secs_f64();
        assert!((wait - 125.0).abs() < 0.1, "{wait}");
        holds(&clock, &excess, || meter.answer(5).map(|mut allowance| allowance.used(0)));
        let never = meter.answer(61).err().unwrap();
        assert_eq!(never.retry_after, None);
    }

    #[test]
    fn an_answer_that_never_began_costs_nothing() {
        let (meter, _) = meter(KeyLimits { tokens_per_minute: Some(60), ..KeyLimits::default() });
        for _ in 0..10 {
            drop(meter.answer(60).unwrap());
        }
        let kept = meter.answer(60).unwrap();
        assert!(meter.answer(1).is_err());
        drop(kept);
        assert!(meter.answer(1).is_ok());
    }

    #[test]
    fn answers_under_way_are_counted_until_they_end() {
        let (meter, _) = meter(KeyLimits { max_streams: Some(2), ..KeyLimits::default() });
        let (one, two) = (meter.answer(1).unwrap(), meter.answer(1).unwrap());
        for _ in 0..3 {
            assert!(meter.answer(1).err().unwrap().message.contains("2 answers"));
        }
        drop(one);
        let three = meter.answer(1).unwrap();
        assert!(meter.answer(1).is_err());
        drop((two, three));
        assert!(meter.answer(1).is_ok());
    }

    #[test]
    fn without_bounds_nothing_is_refused() {
        let (meter, _) = meter(KeyLimits::default());
        for _ in 0..1000 {
            meter.request().unwrap();
            meter.answer(u32::MAX).unwrap().used(u32::MAX);
        }
    }
}
