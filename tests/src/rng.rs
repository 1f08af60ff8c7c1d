//! The one source of chance.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

/// A generator whose output depends on its seed alone, in every version and on every machine.
///
/// ```
/// use p2p_sim::Rng;
///
/// let draws = |seed| -> Vec<u64> {
///     let mut rng = Rng::new(seed);
///     (0..3).map(|_| rng.below(100)).collect()
/// };
/// assert_eq!(draws(1), draws(1));
/// assert_ne!(draws(1), draws(2));
/// ```
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// A generator of this seed.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(ChaCha8Rng::from_seed(bytes))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // Too little is lost by not rejecting to matter to a simulation.
        ((u128::from(self.any()) * u128::from(n)) >> 64) as u64
    }

    /// A number of the range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        low + self.below((high - low).saturating_add(1))
    }

    /// A duration of at least `low` and at most `high`.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.within(nanos(low)..=nanos(high)))
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// One of them; `None` if there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len() as u64) as usize)
    }

    /// So many different ones of `0..n`, in ascending order.
    pub fn sample(&mut self, n: usize, many: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        for at in 0..many.min(n) {
            let other = at + self.below((n - at) as u64) as usize;
            all.swap(at, other);
        }
        all.truncate(many);
        all.sort_unstable();
        all
    }

    /// So many of them, each at most once.
    pub fn pick_some<'a, T>(&mut self, of: &'a [T], many: usize) -> impl Iterator<Item = &'a T> {
        let chosen = self.sample(of.len(), many);
        chosen.into_iter().map(|at| &of[at])
    }

    /// 32 bytes, for a seed of another.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_their_bounds_and_reach_them() {
        let mut rng = Rng::new(1);
        let draws: Vec<u64> = (0..1000).map(|_| rng.within(5..=8)).collect();
        assert_eq!(draws.iter().min(), Some(&5));
        assert_eq!(draws.iter().max(), Some(&8));
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.sample(5, 9), [0, 1, 2, 3, 4]);
        assert_eq!(rng.sample(100, 10).len(), 10);
    }

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        // Every trace hash that was ever written down depends on it.
        assert_eq!(Rng::new(7).any(), 14_095_323_943_061_994_099);
    }
}
