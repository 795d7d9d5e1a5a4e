//! How much an address may do: while there are no keys all of it, and always how often it may present a wrong one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hone_api::key::KeyLimits;

use crate::address::neighbourhood;
use crate::meter::{Excess, Meter};

/// Wrong keys of one address that are answered in a second. A right one is let in however many wrong ones came from the
/// same address: it may be another one's neighbour, and 256 bits are not found by trying.
const WRONG_KEYS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// From so many addresses on, those that are long gone are forgotten.
const MANY: usize = 1024;
/// An address that asked nothing for so long starts afresh. Debts of tokens are paid by then, or nearly.
const GONE: Duration = Duration::from_secs(600);

/// What is known of each address.
pub(crate) struct Visitors {
    limits: KeyLimits,
    meters: Mutex<HashMap<IpAddr, (Arc<Meter>, Instant)>>,
    wrong_keys: DefaultKeyedRateLimiter<IpAddr>,
}

impl Visitors {
    /// Each address may do so much while there are no keys.
    pub(crate) fn new(limits: KeyLimits) -> Self {
        Self {
            limits,
            meters: Mutex::default(),
            wrong_keys: RateLimiter::keyed(Quota::per_second(WRONG_KEYS)),
        }
    }

    /// The bounds of an address, if it has any.
    pub(crate) fn meter(&self, address: Option<IpAddr>) -> Option<Arc<Meter>> {
        if self.limits == KeyLimits::default() {
            return None;
        }
        let (address, now) = (neighbourhood(address?), Instant::now());
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if meters.len() >= MANY && !meters.contains_key(&address) {
            meters.retain(|_, (meter, at)| Arc::strong_count(meter) > 1 || now - *at < GONE);
        }
        let fresh = || (Arc::new(Meter::new("this address", &self.limits)), now);
        let (meter, at) = meters.entry(address).or_insert_with(fresh);
        *at = now;
        Some(Arc::clone(meter))
    }

    /// Counts a wrong key.
    ///
    /// # Errors
    /// There were too many.
    pub(crate) fn wrong_key(&self, address: Option<IpAddr>) -> Result<(), Excess> {
        let Some(address) = address else { return Ok(()) };
        if self.wrong_keys.len() >= MANY {
            self.wrong_keys.retain_recent();
        }
        self.wrong_keys.check_key(&neighbourhood(address)).map_err(|until| Excess {
            message: "too many requests with a wrong API key, or none, come from this address"
                .to_owned(),
            retry_after: Some(until.wait_time_from(DefaultClock::default().now())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn each_address_has_bounds_of_its_own() {
        let limits = KeyLimits { requests_per_minute: Some(2), ..KeyLimits::default() };
        let visitors = Visitors::new(limits);
        let request = |address: &str| visitors.meter(at(address)).unwrap().request();
        assert!(request("10.0.0.1").is_ok() && request("10.0.0.1").is_ok());
        let excess = request("10.0.0.1").unwrap_err();
        assert!(excess.message.starts_with("this address"), "{excess:?}");
        assert!(request("10.0.0.2").is_ok());
        assert!(request("2001:db8::1").is_ok() && request("2001:db8::2").is_ok());
        assert!(request("2001:db8::3").is_err(), "one network is one visitor");
        assert!(Visitors::new(KeyLimits::default()).meter(at("10.0.0.1")).is_none());
    }

    #[test]
    fn who_is_gone_is_forgotten_and_who_is_here_is_not() {
        let limits = KeyLimits { max_streams: Some(1), ..KeyLimits::default() };
        let visitors = Visitors::new(limits);
        let held = visitors.meter(at("10.0.0.1")).unwrap();
        for n in 0..2000u16 {
            visitors.meter(at(&format!("10.1.{}.{}", n / 250, n % 250)));
            let mut meters = visitors.meters.lock().unwrap();
            meters.values_mut().for_each(|(_, at)| {
                *at = at.checked_sub(GONE).unwrap_or(*at);
            });
        }
        assert!(visitors.meters.lock().unwrap().len() <= MANY + 1);
        let again = visitors.meter(at("10.0.0.1")).unwrap();
        assert!(Arc::ptr_eq(&held, &again));
    }

    #[test]
    fn wrong_keys_are_counted_by_address() {
        let visitors = Visitors::new(KeyLimits::default());
        let wrong = |address| (0..30).filter(|_| visitors.wrong_key(at(address)).is_err()).count();
        assert!((15..=20).contains(&wrong("10.0.0.1")));
        assert!((15..=20).contains(&wrong("10.0.0.2")));
    }
}
