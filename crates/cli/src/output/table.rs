//! Aligned tables for terminals, with the width that characters really take there.

/// Renders rows under a head; numbers (columns whose every cell is one) are aligned to the right.
pub fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|it| clean(it)).collect()).collect();
    let columns = head.len();
    let is_number: Vec<bool> = (0..columns)
        .map(|at| !rows.is_empty() && rows.iter().all(|row| row.get(at).is_some_and(|it| looks_like_number(it))))
        .collect();
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|it| width(it)).max().unwrap_or(0).max(width(head[at])))
        .collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|it| (*it).to_owned()).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::new();
        for at in 0..columns {
            let cell = row.get(at).map_or("", String::as_str);
            let gap = " ".repeat(widths[at] - width(cell));
            let (before, after) = if is_number[at] { (gap.as_str(), "") } else { ("", gap.as_str()) };
            line.push_str(before);
            line.push_str(cell);
            line.push_str(after);
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Renders names and texts, one a line; an empty text is left out, further lines are indented.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().filter(|it| !it.1.is_empty()).collect();
    let widest = pairs.iter().map(|it| width(it.0)).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs {
        let gap = " ".repeat(widest - width(name));
        for (at, line) in value.lines().enumerate() {
            let name = if at == 0 { format!("{name}{gap}") } else { " ".repeat(widest) };
            text.push_str(format!("{name}  {}", clean(line)).trim_end());
            text.push('\n');
        }
    }
    text
}

/// Text without the control characters that would let a name drive the terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}

/// As [`clean`], keeping line ends and tabs.
pub fn clean_lines(text: &str) -> String {
    text.chars().map(|it| if it.is_control() && it != '\n' && it != '\t' { '\u{fffd}' } else { it }).collect()
}

fn looks_like_number(text: &str) -> bool {
    text == "-" || text.starts_with(|it: char| it.is_ascii_digit() || it == '-') && text.parse::<f64>().is_ok()
}

/// Columns that a text takes in a terminal: East Asian wide characters take two, combining ones none.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// After Unicode's EastAsianWidth.txt, classes W and F, by block; see UAX #11.
fn char_width(it: char) -> usize {
    match u32::from(it) {
        0x0300..=0x036f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0x33ff
        | 0x3400..=0x4dbf
        | 0x4e00..=0xa4cf
        | 0xa960..=0xa97f
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_for_chinese_and_numbers() {
        let rows = [vec!["数据".into(), "7".into()], vec!["digits".into(), "1797".into()]];
        let expected = "NAME    ITEMS\n数据        7\ndigits   1797\n";
        assert_eq!(render(&["NAME", "ITEMS"], &rows), expected);
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        let text = render(&["NAME"], &[vec!["\u{1b}[2Jx\n".into()]]);
        assert!(!text.contains('\u{1b}') && text.lines().count() == 2);
    }

    #[test]
    fn pairs_leave_out_what_is_empty() {
        assert_eq!(
            pairs(&[("a", "1".into()), ("long", String::new()), ("bc", "2\n3".into())]),
            "a   1\nbc  2\n    3\n"
        );
    }
}
