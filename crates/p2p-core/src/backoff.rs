//! How long to wait before a peer is dialled again.

use std::time::Duration;

/// The multiplier's unit. A power of two, so that scaling a float by it is exact.
const ONE: u128 = 1024;
const NANOS_PER_SEC: u128 = 1_000_000_000;

/// `initial` · `multiplier` ^ `retry_count`, and never more than `max`.
///
/// The multiplier is rounded once, to 1/1024; everything after that is integers, so every
/// machine waits equally long. One below 1 counts as 1.
///
/// ```
/// use std::time::Duration;
/// use p2p_core::backoff::exponential;
///
/// let (initial, max) = (Duration::from_secs(5), Duration::from_secs(600));
/// assert_eq!(exponential(initial, 2.0, max, 3), Duration::from_secs(40));
/// assert_eq!(exponential(initial, 2.0, max, u32::MAX), max);
/// ```
pub fn exponential(
    initial: Duration,
    multiplier: f64,
    max: Duration,
    retry_count: u32,
) -> Duration {
    // The cast saturates, and makes zero of what is no number.
    let multiplier = ((multiplier * ONE as f64).round() as u128).max(ONE);
    let max_nanos = max.as_nanos();
    let mut nanos = initial.as_nanos();
    for _ in 0..retry_count {
        // Rounded up, or a pause of a few nanoseconds would never grow.
        let next = nanos.saturating_mul(multiplier).div_ceil(ONE);
        if nanos >= max_nanos || next == nanos {
            break;
        }
        nanos = next;
    }
    if nanos >= max_nanos {
        return max;
    }
    // Less than `max`: the seconds fit.
    Duration::new(
        (nanos / NANOS_PER_SEC) as u64,
        (nanos % NANOS_PER_SEC) as u32,
    )
}

/// Shortened by up to half: more than `duration` / 2, at most `duration`. So that nodes that lost
/// a peer together do not come back together.
///
/// `random` is uniform, from the generator of whoever asks.
///
/// ```
/// use std::time::Duration;
/// use p2p_core::backoff::jittered;
///
/// let pause = Duration::from_secs(10);
/// assert_eq!(jittered(pause, 0), pause);
/// assert_eq!(jittered(pause, 1 << 63), Duration::from_millis(7_500));
/// ```
pub fn jittered(duration: Duration, random: u64) -> Duration {
    // Of more than a thousand years, a part of this many is cut.
    let half = u64::try_from(duration.as_nanos() / 2).unwrap_or(u64::MAX);
    let cut = (u128::from(random) * u128::from(half)) >> 64;
    duration - Duration::from_nanos(cut as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConnectionConfig;
    use proptest::prelude::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn test_exponential_backoff_calculation() {
        let config = ConnectionConfig::default();
        let secs: Vec<_> = (0..10).map(|n| config.backoff(n).as_secs()).collect();
        assert_eq!(secs, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(config.backoff(u32::MAX), config.max_backoff);
    }

    #[test]
    fn any_multiplier_ends_at_the_maximum_or_stays() {
        let day = 86_400 * SEC;
        for (initial, multiplier, retry_count, pause) in [
            (SEC, 1.5, 2, Duration::from_millis(2_250)),
            (SEC, 1.0, u32::MAX, SEC),
            // Rounds to 1.
            (SEC, 1.0 + 1.0 / 4096.0, u32::MAX, SEC),
            (SEC, 1.0 + 1.0 / 1024.0, u32::MAX, day),
            (SEC, 1.0 + 0.6 / 1024.0, u32::MAX, day),
            // 2^128, were it not for saturation.
            (Duration::from_nanos(1 << 10), 2f64.powi(108), 1, day),
            (SEC, f64::MAX, 0, SEC),
            (SEC, f64::MAX, 1, day),
            (SEC, f64::INFINITY, 1, day),
            (SEC, f64::NAN, 9, SEC),
            (SEC, -2.0, 9, SEC),
            (Duration::ZERO, 2.0, u32::MAX, Duration::ZERO),
            (Duration::from_nanos(1), 1.5, u32::MAX, day),
            (2 * day, 2.0, 0, day),
            (Duration::MAX, 2.0, 1, day),
        ] {
            let got = exponential(initial, multiplier, day, retry_count);
            assert_eq!(got, pause, "{initial:?} · {multiplier} ^ {retry_count}");
        }
        assert_eq!(
            exponential(SEC, 2.0, Duration::MAX, u32::MAX),
            Duration::MAX
        );
    }

    #[test]
    fn test_max_retries_enforcement() {
        let mut config = ConnectionConfig {
            max_retries: 3,
            ..ConnectionConfig::default()
        };
        for retry_count in 0..3 {
            let pause = config.retry_after(retry_count);
            assert_eq!(pause, Some(config.backoff(retry_count)));
        }
        for retry_count in [3, 4, u32::MAX] {
            assert_eq!(config.retry_after(retry_count), None);
        }
        config.max_retries = 0;
        assert_eq!(config.retry_after(0), None);
    }

    proptest! {
        #[test]
        fn jitter_takes_less_than_half(nanos in 1..=u64::MAX, random: u64) {
            let pause = Duration::from_nanos(nanos);
            let got = jittered(pause, random);
            prop_assert!(got <= pause && got.as_nanos() * 2 > pause.as_nanos(), "{got:?}");
        }

        #[test]
        fn a_pause_grows_with_every_retry_and_never_above_the_maximum(
            initial: u64,
            multiplier in 1.0..10.0f64,
            max: u64,
            retry_count in 0..100u32,
        ) {
            let max = Duration::from_nanos(max);
            let at = |n| exponential(Duration::from_nanos(initial), multiplier, max, n);
            prop_assert!(at(retry_count) <= at(retry_count + 1));
            prop_assert!(at(retry_count + 1) <= max);
        }
    }

    #[test]
    fn jitter_reaches_both_ends_of_its_range() {
        assert_eq!(jittered(2 * SEC, 0), 2 * SEC);
        assert_eq!(jittered(2 * SEC, u64::MAX), SEC + Duration::from_nanos(1));
        assert_eq!(jittered(Duration::ZERO, u64::MAX), Duration::ZERO);
        // No overflow, and no more than half.
        assert!(jittered(Duration::MAX, u64::MAX) > Duration::MAX / 2);
    }
}
