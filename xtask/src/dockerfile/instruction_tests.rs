//! Unit tests of `dockerfile.rs`. Every case was tried with BuildKit.

use super::*;

fn only(text: &str) -> Kind {
    let file = Dockerfile::parse(&format!("FROM a\n{text}\n")).unwrap();
    file.stages[0].instructions[0].kind.clone()
}

fn fault(text: &str) -> String {
    Dockerfile::parse(text).unwrap_err().to_string()
}

fn copied(text: &str) -> (Option<String>, Vec<String>, String) {
    match only(text) {
        Kind::Copy(copy) => (copy.from, copy.sources, copy.dest),
        kind => panic!("{kind:?}"),
    }
}

fn mounted(text: &str) -> Vec<Vec<(String, String)>> {
    match only(text) {
        Kind::Run(run) => run.mounts.into_iter().map(|mount| mount.fields).collect(),
        kind => panic!("{kind:?}"),
    }
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

#[test]
fn a_file_with_stages() {
    let text = "# syntax=docker/dockerfile:1\nARG A B=1\n\nFROM --platform=$BUILDPLATFORM x:$B AS Build\nUSER u\n\
                FROM scratch\nENTRYPOINT []\n";
    let arg =
        |name: &str, default: Option<&str>| Arg { line: 2, name: name.into(), default: default.map(str::to_owned) };
    let stage = |line, name: Option<&str>, image: &str, platform: Option<&str>| Stage {
        line,
        name: name.map(str::to_owned),
        image: image.to_owned(),
        platform: platform.map(str::to_owned),
        instructions: vec![Instruction { line: line + 1, kind: Kind::Other }],
    };
    let expected = Dockerfile {
        syntax: Some(Syntax { image: "docker/dockerfile:1".to_owned(), line: 1 }),
        escape: '\\',
        global_args: vec![arg("A", None), arg("B", Some("1"))],
        stages: vec![stage(4, Some("build"), "x:$B", Some("$BUILDPLATFORM")), stage(6, None, "scratch", None)],
    };
    assert_eq!(Dockerfile::parse(text), Ok(expected));
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_line() {
    for (text, expected) in [
        ("", "line 1: a Dockerfile without instructions"),
        ("# only\n# comments\n", "line 2: a Dockerfile without instructions"),
        ("\nARG A\n", "line 2: no `FROM`"),
        ("USER u\nFROM a", "line 1: an instruction before the first `FROM`"),
        ("FROM a\n\nCOPPY b c", "line 3: unknown instruction `COPPY`"),
        ("FROM a b c", "line 1: `FROM` takes an image, or an image, `AS` and a name"),
        ("FROM a AS 1b", "line 1: `1b` is not a name for a stage"),
        ("FROM a\nCOPY b", "line 2: takes at least a source and a destination"),
        ("FROM a\nCOPY [\"b\"]", "line 2: takes at least a source and a destination"),
        ("FROM a\nCOPY [\"b\", 1]", "line 2: a JSON array may hold strings only"),
        ("FROM a\nCOPY --from b c d", "line 2: `--from` takes one value: `--from=stage`"),
        ("FROM a\nCOPY --from=b --from=c d e", "line 2: `--from` takes one value: `--from=stage`"),
        ("FROM a\nADD --from=b c d", "line 2: `ADD` has no `--from`"),
        ("FROM a\nRUN --mount type=bind x", "line 2: `--mount` takes a value: `--mount=type=bind,…`"),
        ("FROM a\nRUN --mount=a\\\"b x", "line 2: cannot read `--mount=a\"b`"),
        ("FROM a\nRUN --mount=from=$X x", "line 2: `from` of a mount takes no variables: name a stage instead"),
        ("FROM a\nONBUILD FROM b", "line 2: not an instruction that `ONBUILD` can hold back"),
        ("FROM a\nONBUILD ONBUILD USER b", "line 2: not an instruction that `ONBUILD` can hold back"),
        ("FROM a\nENV A", "line 2: `ENV` without a value"),
        ("FROM a\nENV A=1 B", "line 2: `ENV` takes `name=value`"),
        ("FROM a\nARG", "line 2: `ARG` without a name"),
        ("FROM a\nRUN cat <<EOF", "line 2: the here-document `<<EOF` is not terminated"),
    ] {
        assert_eq!(fault(text), expected, "{text:?}");
    }
}

#[test]
fn sources_and_destinations() {
    let none = None::<String>;
    assert_eq!(copied("COPY b\tc  /d"), (none.clone(), strings(["b", "c"]), "/d".into()));
    assert_eq!(copied("COPY [\"b c\", \"/d e\"]"), (none.clone(), strings(["b c"]), "/d e".into()));
    assert_eq!(copied("COPY ['b', '/d']"), (none.clone(), strings(["['b',"]), "'/d']".into()));
    assert_eq!(copied("COPY --from=\"x\" --link b /d"), (Some("x".into()), strings(["b"]), "/d".into()));
    assert_eq!(copied("COPY --from= b /d"), (none.clone(), strings(["b"]), "/d".into()));
    assert_eq!(copied("COPY b --link /d"), (none.clone(), strings(["b", "--link"]), "/d".into()));
    assert_eq!(copied("COPY <<EOF b <<\"F\" /d/\nx\nEOF\nF\n"), (none.clone(), strings(["b"]), "/d/".into()));
    // BuildKit finds the here-document and then takes its two halves for paths.
    assert_eq!(copied("COPY << EOF b /d\nEOF\n"), (none.clone(), strings(["<<", "EOF", "b"]), "/d".into()));
    assert_eq!(copied("ADD https://x/y b /d"), (none, strings(["https://x/y", "b"]), "/d".into()));
}

#[test]
fn flags_are_kept() {
    let Kind::Copy(copy) = only("COPY --parents --exclude=*.md b /d") else { panic!() };
    let flag = |name: &str, value: Option<&str>| Flag { name: name.into(), value: value.map(str::to_owned) };
    assert_eq!(copy.flags, [flag("parents", None), flag("exclude", Some("*.md"))]);
    let Kind::Run(run) = only("RUN --network=none --mount=target=/x y") else { panic!() };
    assert_eq!(run.flags, [flag("network", Some("none"))]);
}

#[test]
fn mounts() {
    assert_eq!(
        mounted("RUN --mount=TYPE=bind,\"source=a\",rw --mount='target=/x y' z"),
        [pairs([("type", "bind"), ("source", "a"), ("rw", "")]), pairs([("target", "/x y")])]
    );
    assert_eq!(
        mounted("RUN --mount='type=bind,\"source=a,\"\"b\"' z"),
        [pairs([("type", "bind"), ("source", "a,\"b")])]
    );
    assert_eq!(mounted("RUN echo --mount=type=bind"), Vec::<Vec<(String, String)>>::new());
    let mount = Mount { fields: pairs([("source", "a"), ("from", ""), ("src", "b")]) };
    assert_eq!((mount.get(&["source", "src"]), mount.from()), (Some("b"), None));
}

#[test]
fn variables() {
    assert_eq!(
        only("ENV A=1 B=\"x y\" C='z w' D=a\\ b E="),
        Kind::Env(pairs([("A", "1"), ("B", "\"x y\""), ("C", "'z w'"), ("D", "a\\ b"), ("E", "")]))
    );
    assert_eq!(only("ENV A  one two=3"), Kind::Env(pairs([("A", "one two=3")])));
    assert_eq!(only("ENV A=b\\\\"), Kind::Env(pairs([("A", "b\\\\")])));
    let arg =
        |name: &str, default: Option<&str>| Arg { line: 2, name: name.into(), default: default.map(str::to_owned) };
    assert_eq!(
        only("ARG A B=1=2 C='x y'"),
        Kind::Arg(vec![arg("A", None), arg("B", Some("1=2")), arg("C", Some("'x y'"))])
    );
}

#[test]
fn held_back_instructions() {
    let Kind::Onbuild(kind) = only("onbuild copy --from=x b /d") else { panic!() };
    assert_eq!(*kind, only("COPY --from=x b /d"));
}

/// A second opinion: where `parse-dockerfile` reads a file rightly, it reads what we read.
#[test]
fn another_parser_sees_the_same_stages_and_sources() {
    let text = "ARG V=1\nFROM busybox:$V AS a\nRUN <<EOF\nCOPY no such /file\nEOF\nCOPY --chown=1:1 x y /z/\n\
                ADD [\"a b\", \"/c\"]\nFROM a\nCOPY --from=a /x /y\nRUN echo \\\n  # a comment\n  COPY not this\n";
    let other = parse_dockerfile::parse(text).unwrap();
    let ours = Dockerfile::parse(text).unwrap();
    let theirs: Vec<String> = other.stages().map(|stage| stage.from.image.value.to_string()).collect();
    assert_eq!(ours.stages.iter().map(|stage| stage.image.clone()).collect::<Vec<_>>(), theirs);
    let path = |source: &parse_dockerfile::Source<'_>| match source {
        parse_dockerfile::Source::Path(path) => path.value.to_string(),
        _ => "here-document".to_owned(),
    };
    let mut theirs = Vec::new();
    for instruction in &other.instructions {
        match instruction {
            parse_dockerfile::Instruction::Copy(copy) => theirs.extend(copy.src.iter().map(path)),
            parse_dockerfile::Instruction::Add(add) => theirs.extend(add.src.iter().map(path)),
            _ => {}
        }
    }
    let copies =
        ours.stages.iter().flat_map(|stage| &stage.instructions).filter_map(|instruction| match &instruction.kind {
            Kind::Copy(copy) => Some(&copy.sources),
            _ => None,
        });
    assert_eq!(copies.flatten().cloned().collect::<Vec<_>>(), theirs);
}
