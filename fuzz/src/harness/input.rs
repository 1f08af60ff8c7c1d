//! The fuzzer's bytes as a stream of choices.

/// Reads choices from the front; past the end everything is zero and empty.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from(self.u8()) | u16::from(self.u8()) << 8
    }

    pub(super) fn u64(&mut self) -> u64 {
        (0..8).fold(0, |n, i| n | u64::from(self.u8()) << (8 * i))
    }

    /// The next bytes, `n` of them or as many as there are.
    pub(super) fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    /// One of `choices`, which are not empty.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.u8()) % choices.len()]
    }
}

/// Cuts bytes into pieces, none empty: one by one for seed 0, else of pseudo-random sizes around
/// a scale that the seed sets, so that short inputs meet every kind of cut. Long ones come in
/// some hundreds of pieces.
pub(super) fn pieces(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed);
    let least = 1 + bytes.len() / 256;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let scale = 1_u32 << (seed % 8);
        let size = match seed {
            0 => 1,
            _ => 1 + (state >> 16) % (2 * scale),
        };
        let (piece, left) = rest.split_at(rest.len().min(least * size as usize));
        rest = left;
        Some(piece)
    })
}
