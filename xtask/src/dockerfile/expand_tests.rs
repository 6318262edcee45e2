//! Unit tests of `expand.rs`.

use super::*;

fn value_of(name: &str) -> Result<Option<String>, NoValue> {
    let set = |value: &str| Ok(Some(value.to_owned()));
    match name {
        "X" => set("x"),
        "SPACED" => set("a b"),
        "EMPTY" => set(""),
        "ANY" => Err(NoValue { what: "ANY".to_owned(), is_refused: false }),
        _ => Ok(None),
    }
}

fn text(word: &str) -> String {
    match expand(word, '\\', &mut value_of) {
        Ok(text) => text,
        Err(NoValue { what, is_refused: false }) => format!("unknown: {what}"),
        Err(NoValue { what, .. }) => format!("refused: {what}"),
    }
}

#[test]
fn variables_have_the_values_that_buildkit_gives_them() {
    for (word, expected) in [
        ("a", "a"),
        ("$X", "x"),
        ("a${X}b", "axb"),
        ("$X.y", "x.y"),
        ("$NO", ""),
        ("a$", "a$"),
        ("$(X)", "$(X)"),
        ("$1a", "a"),
        ("${X:-d}", "x"),
        ("${NO:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NO-d}", "d"),
        ("${X:+a}", "a"),
        ("${NO:+a}", ""),
        ("${EMPTY:+a}", ""),
        ("${EMPTY+a}", "a"),
        ("${NO:-${X}}", "x"),
        ("${NO:-\"}\"}", "}"),
        ("${X:?m}", "x"),
        ("${EMPTY?m}", ""),
        ("'$X'", "$X"),
        ("\"$X y\"", "x y"),
        ("\\$X", "$X"),
        ("\"\\$X\\n\"", "$X\\n"),
        ("a\\", "a"),
        ("$SPACED", "a b"),
        ("<<EOF", "<<EOF"),
    ] {
        assert_eq!(text(word), expected, "{word}");
    }
}

#[test]
fn what_has_no_certain_value_says_why() {
    for (word, expected) in [
        ("$ANY", "unknown: ANY"),
        ("${ANY:-d}", "unknown: ANY"),
        ("${X:-$ANY}", "unknown: ANY"),
        ("${NO:?say it}", "refused: NO: say it"),
        ("${EMPTY:?}", "refused: EMPTY: has no value"),
        ("${X#v}", "unknown: `${X#…}` is not understood here"),
        ("${X%v}", "unknown: `${X%…}` is not understood here"),
        ("${X/a/b}", "unknown: `${X/…}` is not understood here"),
        ("${X:0:1}", "unknown: `${X:0…}` is not understood here"),
        ("${X^^}", "refused: unsupported modifier `^` after `${X`"),
        ("${}", "refused: bad substitution after `${`"),
        ("${X", "refused: unsupported modifier `` after `${X`"),
        ("${X:-d", "refused: `}` is missing"),
        ("'a", "refused: `'` is not closed"),
        ("\"a", "refused: `\"` is not closed"),
        ("${X:?m}${ANY:?m}", "unknown: ANY"),
        ("${X#v}'", "refused: `'` is not closed"),
    ] {
        assert_eq!(text(word), expected, "{word}");
    }
}

#[test]
fn the_other_escape_character_leaves_backslashes_alone() {
    assert_eq!(expand("a\\b`$X", '`', &mut value_of).unwrap(), "a\\b$X");
}

#[test]
fn texts_that_grow_without_end() {
    let deep = |depth: usize| text(&format!("{}x{}", "${NO:-".repeat(depth), "}".repeat(depth)));
    assert_eq!(deep(99), "x");
    let too_deep = "unknown: variables more than 100 deep in each other are not understood here";
    assert_eq!(deep(100), too_deep);
    assert_eq!(text(&"\"${NO:-".repeat(100_000)), too_deep);
    assert_eq!(text(&"x".repeat(4096)).len(), 4096);
    assert_eq!(text(&"$X".repeat(4097)), "unknown: a text of more than 4096 bytes is not looked into");
    // It is read to its end, as BuildKit may refuse what comes there.
    assert_eq!(text(&format!("{}'", "x".repeat(5000))), "refused: `'` is not closed");
}
