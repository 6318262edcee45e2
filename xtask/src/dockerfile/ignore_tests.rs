//! Unit tests of `ignore.rs`. What is kept was compared with what BuildKit put into an image by `COPY . /`.

use super::*;

const FILES: [&str; 22] = [
    ".hid",
    "README.md",
    "a b",
    "a.b",
    "a/b/c",
    "a/b/d.md",
    "a/bc",
    "a/x.md",
    "a1",
    "ab",
    "d/.hid",
    "d/e/f/g",
    "d/e/foo.md",
    "d/foo/in",
    "e.md",
    "foo",
    "foo*",
    "x/a/y",
    "x/a/z/a/y",
    "xfoo",
    "a^b",
    "é/é",
];

/// The files that are ignored.
fn ignored(text: &str) -> Vec<&'static str> {
    let ignore = Ignore::parse(text);
    assert_eq!(ignore.unclear, None);
    FILES.into_iter().filter(|file| ignore.ignored(file.as_bytes())).collect()
}

#[test]
fn patterns_ignore_what_buildkit_ignores() {
    let a = ["a/b/c", "a/b/d.md", "a/bc", "a/x.md"];
    for (text, expected) in [
        ("a", a.as_slice()),
        ("a/", &a),
        ("/a", &a),
        (".//./a", &a),
        ("  a  \n\t\n", &a),
        ("\u{feff}a\r\n", &a),
        ("# a\n#a", &[]),
        (" # a", &[]),
        (".", &[]),
        ("/", &[]),
        ("a/*", &a),
        ("a/**", &a),
        ("a/b", &["a/b/c", "a/b/d.md"]),
        ("a/*/c", &["a/b/c"]),
        ("a?", &["a1", "ab"]),
        ("a[1b]", &["a1", "ab"]),
        ("a[0-9]", &["a1"]),
        ("a[^0-9]", &["ab"]),
        ("a.b", &["a.b"]),
        ("a\\.b", &["a.b"]),
        ("foo*", &["foo", "foo*"]),
        ("foo\\*", &["foo*"]),
        ("a^b", &["a^b"]),
        ("*.md", &["README.md", "e.md"]),
        ("*/*.md", &["a/x.md"]),
        ("**/*.md", &["README.md", "a/b/d.md", "a/x.md", "d/e/foo.md", "e.md"]),
        ("**/foo", &["d/foo/in", "foo"]),
        ("x/**/y", &["x/a/y", "x/a/z/a/y"]),
        ("x/**/z", &["x/a/z/a/y"]),
        ("**/a/**", &["a/b/c", "a/b/d.md", "a/bc", "a/x.md", "x/a/y", "x/a/z/a/y"]),
        ("x/**/a/**/y", &["x/a/y", "x/a/z/a/y"]),
        ("**/a/y", &["x/a/y", "x/a/z/a/y"]),
        (".*", &[".hid"]),
        ("**/.hid", &[".hid", "d/.hid"]),
        ("?/é", &["é/é"]),
    ] {
        assert_eq!(ignored(text), expected, "{text:?}");
    }
    assert_eq!(ignored("*"), FILES);
    assert_eq!(ignored("**"), FILES);
    assert_eq!(ignored(""), Vec::<&str>::new());
}

#[test]
fn exceptions_take_back_what_is_before_them() {
    let kept = |text: &str| {
        let ignored = ignored(text);
        FILES.into_iter().filter(|file| !ignored.contains(file)).collect::<Vec<&str>>()
    };
    assert_eq!(kept("*\n!a"), ["a/b/c", "a/b/d.md", "a/bc", "a/x.md"]);
    assert_eq!(kept("*\n! a/b"), ["a/b/c", "a/b/d.md"]);
    assert_eq!(kept("**\n!a/b/c"), ["a/b/c"]);
    assert_eq!(kept("*\n!*.md"), ["README.md", "e.md"]);
    assert_eq!(kept("*\n!**/foo"), ["d/foo/in", "foo"]);
    assert_eq!(kept("*\n!d\nd/e"), ["d/.hid", "d/foo/in"]);
    assert_eq!(kept("*\n!d/e/f"), ["d/e/f/g"]);
    assert_eq!(ignored("a\n!a/b\na/b/c"), ["a/b/c", "a/bc", "a/x.md"]);
    assert_eq!(ignored("!a\na/bc"), ["a/bc"]);
    // The exception says nothing new about `a`, which is not ignored, and so nothing about what is below.
    assert_eq!(ignored("a/b\n!a"), ["a/b/c", "a/b/d.md"]);
}

#[test]
fn what_has_no_equal_is_not_guessed() {
    // BuildKit refuses these.
    for text in ["a[", "[]a]", "[-x]", "a[b-]", "[z-a]", "a\\", "!", "!/"] {
        assert!(Ignore::parse(text).unclear.is_some(), "{text:?}");
    }
    // It takes these for something else than what they look like.
    for text in [
        "**\\/x",
        "w\\d",
        "a^*",
        "[[:alpha:]]*",
        "a[!1]",
        "[+-9]",
        "a[^x]b",
        "a**",
        "**foo",
        "a**b",
        "***",
        "a\u{fffd}",
        "../a",
        "a/../b",
    ] {
        assert!(Ignore::parse(text).unclear.is_some(), "{text:?}");
    }
    let unclear = Ignore::parse("a\n\n !**x \n*\n").unclear.unwrap();
    assert_eq!((unclear.line, unclear.what.as_str()), (3, "the pattern `!**x` is not understood here"));
    assert!(!Ignore::parse("a**b\n*").ignored(b"a"));
}

#[test]
fn paths_that_are_not_text() {
    for (text, path, expected) in [
        ("?", b"\xff".as_slice(), true),
        ("?", b"\xff\xfe", false),
        ("**", b"\xff", true),
        ("a", b"a/\xff", true),
        ("[a-z]", b"\xff", false),
        ("[^a-z]", b"\xff", true),
    ] {
        assert_eq!(Ignore::parse(text).ignored(path), expected, "{text:?} {path:?}");
    }
}

#[test]
fn an_allow_list_is_of_these_paths_alone() {
    let paths: [&[u8]; 8] =
        [b"a b/c", b" a ", b"[x]*?!", b"!#", b"#a", b"a\\b^", "a\nb\u{fffd}".as_bytes(), "\u{a0}".as_bytes()];
    assert_eq!(
        allow_list([], paths),
        "*\n!a b/c\n![ ]a[ ]\n!\\[x\\]\\*\\?!\n!!#\n!#a\n!a\\\\b\\^\n!a?b\u{fffd}\n![\u{a0}]\n"
    );
    assert_eq!(allow_list([], []), "*\n");
    let empty: [&[u8]; 2] = [b"a", b"b c/[d]"];
    assert_eq!(allow_list(empty, [b"a/x".as_slice()]), "*\n!a\na/*\n!b c/\\[d\\]\nb c/\\[d\\]/*\n!a/x\n");
}
