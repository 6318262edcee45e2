//! Unit tests of `expand.rs`.

use super::*;

fn value_of(name: &str) -> Value {
    match name {
        "X" => Value::Set("x".to_owned()),
        "SPACED" => Value::Set("a b".to_owned()),
        "EMPTY" => Value::Set(String::new()),
        "ANY" => Value::Unknown,
        _ => Value::Unset,
    }
}

fn text(word: &str) -> String {
    match expand(word, '\\', &value_of) {
        Ok(expanded) => expanded.text,
        Err(NoValue::Unknown(name)) => format!("unknown: {name}"),
        Err(NoValue::Refused(what)) => format!("refused: {what}"),
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
        ("${X#v}", "refused: `${X#…}` is not understood here"),
        ("${X%v}", "refused: `${X%…}` is not understood here"),
        ("${X/a/b}", "refused: `${X/…}` is not understood here"),
        ("${X:0:1}", "refused: `${X:0…}` is not understood here"),
        ("${X^^}", "refused: unsupported modifier `^` after `${X`"),
        ("${}", "refused: bad substitution after `${`"),
        ("${X", "refused: unsupported modifier `` after `${X`"),
        ("${X:-d", "refused: `}` is missing"),
        ("'a", "refused: `'` is not closed"),
        ("\"a", "refused: `\"` is not closed"),
    ] {
        assert_eq!(text(word), expected, "{word}");
    }
}

#[test]
fn the_other_escape_character_leaves_backslashes_alone() {
    assert_eq!(expand("a\\b`$X", '`', &value_of).unwrap().text, "a\\b$X");
}

#[test]
fn variables_without_a_value_are_told() {
    assert_eq!(expand("a:$NO$X${NO2}", '\\', &value_of).unwrap().unset, ["NO", "NO2"]);
}

#[test]
fn words_as_written() {
    let words = |line| written_words(line).unwrap();
    assert_eq!(words("a <<  EOF b"), ["a", "<<  EOF", "b"]);
    assert_eq!(words("a <<- EOF"), ["a", "<<-", "EOF"]);
    assert_eq!(words("x '<<A b' \"c d\" \\  e"), ["x", "'<<A b'", "\"c d\"", "\\ ", "e"]);
    assert_eq!(words("${x:0:3} ${x//a/b} $$ <<$X"), ["${x:0:3}", "${x/a/b}", "$$", "<<$X"]);
    assert_eq!(written_words("it's"), None);
    assert_eq!(written_words("${x^^} <<EOF"), None);
    assert_eq!(plain_words("'E F'\\G$H").unwrap(), ["E FG$H"]);
}
