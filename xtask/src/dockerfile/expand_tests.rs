//! Unit tests of `expand.rs`.

use super::*;

fn value_of(name: &str) -> Result<Option<String>, NoValue> {
    let set = |value: &str| Ok(Some(value.to_owned()));
    match name {
        "X" => set("x"),
        "VERSION" => set("v1.2.3-rc.1"),
        "LINES" => set("ab\ncb"),
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
fn patterns_match_as_those_of_buildkit() {
    for (word, expected) in [
        ("${VERSION#v}", "1.2.3-rc.1"),
        ("${VERSION#V}", "v1.2.3-rc.1"),
        ("${VERSION#*.}", "2.3-rc.1"),
        ("${VERSION##*.}", "1"),
        ("${VERSION%.*}", "v1.2.3-rc"),
        ("${VERSION%%.*}", "v1"),
        ("${VERSION%-??.?}", "v1.2.3"),
        ("${VERSION/./_}", "v1_2.3-rc.1"),
        ("${VERSION//./_}", "v1_2_3-rc_1"),
        ("${VERSION//[0-9]/n}", "v1.2.3-rc.1"),
        ("${VERSION/-*/}", "v1.2.3"),
        ("${VERSION//./${X:+\\/}}", "v1/2/3-rc/1"),
        ("${VERSION/./\\/}", "v1\\/2.3-rc.1"),
        ("${VERSION#${NO:-v}}", "1.2.3-rc.1"),
        ("${VERSION#\"v\"'1'}", ".2.3-rc.1"),
        ("${VERSION#'*'.}", "2.3-rc.1"),
        ("${VERSION#\\*.}", "v1.2.3-rc.1"),
        ("${NO:-a\\*b}", "a*b"),
        ("${VERSION//}/x}/}", "v1.2.3-rc.1/}"),
        ("${LINES#*b}", "\ncb"),
        ("${LINES##*b}", "\ncb"),
        ("${LINES%b}", "ab\nc"),
        ("${LINES//*/x}", "x\nx"),
        ("${X//*/y}", "y"),
        ("${X///y}", "yxy"),
        ("${EMPTY//*/y}", "y"),
        ("${NO/*/y}", "y"),
        ("${NO#x}", ""),
        ("${VERSION#}", "v1.2.3-rc.1"),
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
        ("${X#$ANY}", "unknown: ANY"),
        ("${ANY#v}", "unknown: ANY"),
        ("${ANY/a/b}", "unknown: ANY"),
        ("${X//x/'$0'}", "unknown: a `$` in what replaces all matches is not understood here"),
        ("${X%'*\\'}", "unknown: a backslash at the end of a pattern is not understood here"),
        ("${X#\\v}", "refused: `\\v` in a pattern: only `*`, `?`, `\\`, `}` and `/` are escaped"),
        ("${X/x}", "refused: `/` is missing"),
        ("${X/x/y", "refused: `}` is missing"),
        ("${X:#x}", "refused: unsupported modifier `:#` after `${X`"),
        ("${X:0:1}", "refused: unsupported modifier `:0` after `${X`"),
        ("${X^^}", "refused: unsupported modifier `^` after `${X`"),
        ("${}", "refused: bad substitution after `${`"),
        ("${X", "refused: unsupported modifier `` after `${X`"),
        ("${X:-d", "refused: `}` is missing"),
        ("'a", "refused: `'` is not closed"),
        ("\"a", "refused: `\"` is not closed"),
        ("${X:?m}${ANY:?m}", "unknown: ANY"),
        ("${X#$ANY}'", "refused: `'` is not closed"),
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
    let long = "unknown: a pattern or a value of more than 255 characters is not understood here";
    assert_eq!(text(&format!("${{X#{}}}", "*?".repeat(128))), long);
    assert_eq!(text(&format!("${{X//{}/y}}", "x".repeat(256))), long);
    // It is read to its end, as BuildKit may refuse what comes there.
    assert_eq!(text(&format!("{}'", "x".repeat(5000))), "refused: `'` is not closed");
}
