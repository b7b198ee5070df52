//! Lengths in as few bytes as they need: seven bits a byte, the lowest first.

/// Bytes that `n` takes.
#[inline]
pub const fn len(n: usize) -> usize {
    match n {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

/// Writes `n` into exactly [`len`] bytes.
#[inline]
pub fn write(out: &mut [u8], mut n: usize) {
    let last = out.len() - 1;
    for byte in &mut out[..last] {
        *byte = (n as u8 & 0x7f) | 0x80;
        n >>= 7;
    }
    out[last] = n as u8;
}

/// Appends `n`.
#[inline]
pub fn push(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// The number at the start of `bytes`, and how many of them it takes. (0, 0) when there are none.
#[inline]
pub fn read(bytes: &[u8]) -> (usize, usize) {
    match bytes.first() {
        Some(&first) if first < 0x80 => (first as usize, 1),
        _ => read_long(bytes),
    }
}

fn read_long(bytes: &[u8]) -> (usize, usize) {
    let mut n = 0usize;
    let mut used = 0;
    for (i, &b) in bytes.iter().take(5).enumerate() {
        n |= ((b & 0x7f) as usize) << (7 * i);
        used = i + 1;
        if b & 0x80 == 0 {
            break;
        }
    }
    (n, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for n in [0, 1, 127, 128, 300, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_456, u32::MAX as usize] {
            let mut pushed = Vec::new();
            push(&mut pushed, n);
            let mut written = vec![0; len(n)];
            write(&mut written, n);
            assert_eq!(pushed, written);
            pushed.push(0xff);
            assert_eq!(read(&pushed), (n, len(n)), "{n}");
        }
        assert_eq!(read(&[]), (0, 0));
    }
}
