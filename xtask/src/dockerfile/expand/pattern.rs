//! The patterns of `${X#…}`, `${X%…}` and `${X/…/…}`. `*` stands for any characters and `?` for one, a line's end
//! excepted; a backslash escapes them. There are no brackets.

use super::NoValue;

/// The longest pattern, and the longest value that is compared with one, in characters: the work grows with their third
/// power, and names of files and images are shorter.
const LONGEST: usize = 255;

/// A part of a pattern.
#[derive(Clone, Copy)]
enum Piece {
    Any,
    One,
    This(char),
}

/// `${X#pattern}`, and `${X%pattern}` from the other end; with the operator doubled, the longest match is taken away
/// and not the shortest.
pub fn trimmed(value: &str, operator: &str, pattern: &str) -> Result<String, NoValue> {
    let (mut pieces, mut text) = compared(pattern, value)?;
    let is_end = operator.starts_with('%');
    if is_end {
        pieces.reverse();
        text.reverse();
    }
    let ends = ends(&pieces, &text, 0);
    let end = if operator.len() > 1 { ends.last() } else { ends.first() };
    text.drain(..end.copied().unwrap_or_default());
    if is_end {
        text.reverse();
    }
    Ok(text.into_iter().collect())
}

/// `${X/pattern/replacement}`: the first match is replaced, the longest of those that begin there; with two slashes
/// before the pattern every match, but for an empty one right behind another.
pub fn replaced(value: &str, operator: &str, pattern: &str, replacement: &str) -> Result<String, NoValue> {
    let is_all = operator.len() > 1;
    if is_all && replacement.contains('$') {
        return not_known("a `$` in what replaces all matches");
    }
    let (pieces, text) = compared(pattern, value)?;
    let (mut out, mut copied, mut from) = (String::new(), 0, 0);
    while let Some((start, end)) = first_match(&pieces, &text, from) {
        out.extend(&text[copied..start]);
        if end > copied || start == 0 {
            out.push_str(replacement);
        }
        copied = end;
        from = if is_all { end.max(from + 1) } else { text.len() + 1 };
    }
    out.extend(&text[copied..]);
    Ok(out)
}

fn not_known<T>(what: &str) -> Result<T, NoValue> {
    Err(NoValue { what: format!("{what} is not understood here"), is_refused: false })
}

fn compared(pattern: &str, value: &str) -> Result<(Vec<Piece>, Vec<char>), NoValue> {
    let text: Vec<char> = value.chars().collect();
    let pieces = pieces(pattern)?;
    if pieces.len().max(text.len()) > LONGEST {
        return not_known(&format!("a pattern or a value of more than {LONGEST} characters"));
    }
    Ok((pieces, text))
}

fn pieces(pattern: &str) -> Result<Vec<Piece>, NoValue> {
    let (mut pieces, mut chars) = (Vec::new(), pattern.chars());
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '*' => Piece::Any,
            '?' => Piece::One,
            '\\' => match chars.next() {
                Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Piece::This(c),
                Some(c) => {
                    let what = format!("`\\{c}` in a pattern: only `*`, `?`, `\\`, `}}` and `/` are escaped");
                    return Err(NoValue { what, is_refused: true });
                }
                None => return not_known("a backslash at the end of a pattern"),
            },
            c => Piece::This(c),
        });
    }
    Ok(pieces)
}

/// The longest match at the first place that has any, from a place on.
fn first_match(pieces: &[Piece], text: &[char], from: usize) -> Option<(usize, usize)> {
    (from..=text.len()).find_map(|start| Some((start, *ends(pieces, text, start).last()?)))
}

/// Where what the pattern matches from `start` on may end, in order.
fn ends(pieces: &[Piece], text: &[char], start: usize) -> Vec<usize> {
    let mut ends = vec![start];
    for piece in pieces {
        let mut next: Vec<usize> = Vec::new();
        for end in ends {
            let is_taken = match (piece, text.get(end)) {
                (Piece::Any, _) => {
                    let line = text[end..].iter().position(|c| *c == '\n').map_or(text.len(), |length| end + length);
                    next.extend(next.last().map_or(end, |last| end.max(last + 1))..=line);
                    false
                }
                (Piece::One, Some(c)) => *c != '\n',
                (Piece::This(wanted), Some(c)) => c == wanted,
                (_, None) => false,
            };
            next.extend(is_taken.then_some(end + 1));
        }
        ends = next;
    }
    ends
}
