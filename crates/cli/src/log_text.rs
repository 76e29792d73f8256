//! A log as text: pieces that are cut anywhere, and the end of one that is long.

/// Makes text of bytes that come in pieces, so that a character cut in two is not taken for a damaged one.
#[derive(Debug, Default)]
pub struct Pieces {
    rest: Vec<u8>,
}

impl Pieces {
    /// The text of one more piece. The beginning of a character waits for the piece that ends it.
    pub fn push(&mut self, piece: &[u8]) -> String {
        self.rest.extend_from_slice(piece);
        let whole = self.rest.len() - begun(&self.rest);
        let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
        self.rest.drain(..whole);
        text
    }

    /// What is left when nothing follows.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.rest).into_owned()
    }
}

/// How many bytes at the end begin a character without ending it, 0 to 3 (UTF-8, RFC 3629 section 4).
fn begun(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let length = match bytes[bytes.len() - back] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if back < length { back } else { 0 };
    }
    0
}

/// Keeps the end of what goes by.
#[derive(Debug)]
pub struct Tail {
    bytes: Vec<u8>,
    bytes_max: usize,
    is_cut: bool,
}

impl Tail {
    /// Keeps at most the last `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, is_cut: false }
    }

    /// Takes one more piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        // Cut at twice the size only, so that each byte is moved about once.
        if self.bytes.len() > 2 * self.bytes_max {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let extra = self.bytes.len().saturating_sub(self.bytes_max);
        self.bytes.drain(..extra);
        self.is_cut |= extra > 0;
    }

    /// At most the last `count` lines. A line whose beginning is gone is left out, unless it is the only one.
    pub fn lines(mut self, count: usize) -> Vec<String> {
        self.cut();
        let text = String::from_utf8_lossy(&self.bytes);
        let lines: Vec<&str> = text.lines().collect();
        let first = usize::from(self.is_cut && lines.len() > 1).max(lines.len().saturating_sub(count));
        lines[first..].iter().map(|it| (*it).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_log_is_cut_does_not_matter() {
        let text = "é 数据 🦀 end\n".as_bytes();
        let damaged = b"\xf0\x9f x \xe6\x95";
        for whole in [text, &damaged[..]] {
            for size in 1..whole.len() {
                let mut pieces = Pieces::default();
                let mut seen: String = whole.chunks(size).map(|it| pieces.push(it)).collect();
                seen.push_str(&pieces.finish());
                assert_eq!(seen, String::from_utf8_lossy(whole), "in pieces of {size}");
            }
        }
    }

    #[test]
    fn the_end_of_a_log_is_kept_in_whole_lines() {
        let mut tail = Tail::new(12);
        for at in 0..1000 {
            tail.push(format!("line {at}\n").as_bytes());
        }
        assert_eq!(tail.lines(5), ["line 999"]);
        let mut short = Tail::new(100);
        short.push(b"a\nb\nc");
        assert_eq!(short.lines(2), ["b", "c"]);
        let mut one = Tail::new(3);
        one.push(b"abcdefgh");
        assert_eq!(one.lines(2), ["fgh"]);
        assert!(Tail::new(3).lines(2).is_empty());
    }
}
