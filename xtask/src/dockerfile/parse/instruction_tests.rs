//! Unit tests of `instruction.rs`. Every case was tried with BuildKit.

use super::*;
use crate::dockerfile::{Base, BaseRole, Dockerfile, Instruction};

fn only(text: &str) -> Effect {
    let file = Dockerfile::parse(&format!("FROM a\n{text}\n")).unwrap();
    file.stages[0].instructions[0].effect.clone()
}

fn fault(text: &str) -> String {
    let fault = Dockerfile::parse(text).unwrap_err();
    format!("line {}: {}", fault.line, fault.what)
}

/// What each transfer reads: `[from] <type> source source`, and the flag that is not known.
fn read(text: &str) -> String {
    let Effect::Reads { transfers, unclear } = only(text) else { panic!("{text}") };
    let told = |transfer: &Transfer| {
        let from = transfer.from.iter().map(|from| format!("[{from}]"));
        let mount = transfer.mount.iter().map(|mount| format!("<{mount}>"));
        from.chain(mount).chain(transfer.sources.clone()).collect::<Vec<String>>().join("|")
    };
    let told: Vec<String> = transfers.iter().map(told).chain(unclear).collect();
    told.join("; ")
}

fn assignments<const N: usize>(pairs: [(&str, Option<&str>); N]) -> Vec<Assignment> {
    let assignment =
        |(name, value): (&str, Option<&str>)| Assignment { name: name.to_owned(), value: value.map(str::to_owned) };
    pairs.map(assignment).to_vec()
}

#[test]
fn a_file_with_stages() {
    let text = "# syntax=docker/dockerfile:1\nARG A B=1\n\nFROM --platform=$BUILDPLATFORM x:$B AS Build\nUSER u\n\
                FROM scratch\nENTRYPOINT []\n";
    let stage = |line, name: Option<&str>, image: &str, platform: Option<&str>| Stage {
        line,
        name: name.map(str::to_owned),
        image: image.to_owned(),
        platform: platform.map(str::to_owned),
        instructions: vec![Instruction { line: line + 1, effect: Effect::Other }],
    };
    let expected = Dockerfile {
        syntax: Some(Base { written: "docker/dockerfile:1".to_owned(), line: Some(1), role: BaseRole::Frontend }),
        escape: '\\',
        names_platforms: true,
        globals: vec![Instruction { line: 2, effect: Effect::Arg(assignments([("A", None), ("B", Some("1"))])) }],
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
        ("FROM a\nCOPY b", "line 2: `COPY` takes at least a source and a destination"),
        ("FROM a\nCOPY [\"b\"]", "line 2: `COPY` takes at least a source and a destination"),
        ("FROM a\nCOPY [\"b\", 1]", "line 2: a JSON array may hold strings only"),
        ("FROM a\nCOPY --from b c d", "line 2: `--from` takes one value"),
        ("FROM a\nCOPY --from=b --from=c d e", "line 2: `--from` takes one value"),
        ("FROM a\nADD --from=b c d", "line 2: `ADD` has no `--from`"),
        ("FROM a\nRUN --mount type=bind x", "line 2: `--mount` takes a value"),
        ("FROM a\nRUN --mount=a\\\"b x", "line 2: cannot read `--mount=a\"b`"),
        ("FROM a\nRUN --mount=from=$X x", "line 2: `from` of a mount takes no variables"),
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
fn sources_without_their_destination() {
    for (instruction, expected) in [
        ("COPY b\tc  /d", "b|c"),
        ("COPY [\"b c\", \"/d e\"]", "b c"),
        ("COPY ['b', '/d']", "['b',"),
        ("COPY --from=\"x\" --link b /d", "[x]|b"),
        ("COPY --from= b /d", "b"),
        ("COPY b --link /d", "b|--link"),
        ("COPY <<EOF b <<\"F\" /d/\nx\nEOF\nF\n", "b"),
        // BuildKit finds the here-document and then takes its two halves for paths.
        ("COPY << EOF b /d\nEOF\n", "<<|EOF|b"),
        ("ADD https://x/y b /d", "https://x/y|b"),
    ] {
        assert_eq!(read(instruction), expected, "{instruction}");
    }
}

#[test]
fn flags_that_are_not_known() {
    assert_eq!(read("COPY --parents --exclude=*.md b /d"), "b");
    assert_eq!(read("COPY --link --new=1 --newer b /d"), "b; `COPY --new` is not known here");
    assert_eq!(read("ADD --unpack --checksum=x b /d"), "b");
    assert_eq!(read("RUN --network=none --mount=target=/x y"), "<bind>|");
    assert_eq!(read("RUN --new --mount=target=/x y"), "<bind>|; `RUN --new` is not known here");
}

#[test]
fn mounts() {
    for (instruction, expected) in [
        ("RUN --mount=TYPE=bind,\"source=a\",rw --mount='target=/x y,type=cache' z", "<bind>|a; <cache>|"),
        ("RUN --mount='type=bind,\"source=a,\"\"b\"' z", "<bind>|a,\"b"),
        ("RUN --mount='\"source=a\",\"from=\"' z", "<bind>|a"),
        ("RUN --mount=source=a,from=,src=b z", "<bind>|b"),
        ("RUN --mount=from=c,FROM=d z", "[d]|<bind>|"),
        ("RUN echo --mount=type=bind", ""),
    ] {
        assert_eq!(read(instruction), expected, "{instruction}");
    }
    assert_eq!(comma_separated("\"\",a,\"b\"\"\"").unwrap(), ["", "a", "b\""]);
    for refused in ["a\"b", "\"a", "\"a\"b", "\"a\"\"", "\""] {
        assert_eq!(comma_separated(refused), None, "{refused}");
    }
    // As many as a line may hold.
    assert_eq!(comma_separated(&",".repeat(65_535)).unwrap().len(), 65_536);
}

#[test]
fn variables() {
    let some = |pairs: [(&str, &str); 5]| assignments(pairs.map(|(name, value)| (name, Some(value))));
    assert_eq!(
        only("ENV A=1 B=\"x y\" C='z w' D=a\\ b E="),
        Effect::Env(some([("A", "1"), ("B", "\"x y\""), ("C", "'z w'"), ("D", "a\\ b"), ("E", "")]))
    );
    assert_eq!(only("ENV A  one two=3"), Effect::Env(assignments([("A", Some("one two=3"))])));
    assert_eq!(only("ENV A=b\\\\"), Effect::Env(assignments([("A", Some("b\\\\"))])));
    assert_eq!(
        only("ARG A B=1=2 C='x y'"),
        Effect::Arg(assignments([("A", None), ("B", Some("1=2")), ("C", Some("'x y'"))]))
    );
}

#[test]
fn held_back_instructions() {
    assert_eq!(only("onbuild copy --from=x b /d"), Effect::Onbuild(Box::new(only("COPY --from=x b /d"))));
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
    let effects = ours.stages.iter().flat_map(|stage| &stage.instructions).map(|instruction| &instruction.effect);
    let transfers = effects.filter_map(|effect| match effect {
        Effect::Reads { transfers, .. } => Some(transfers),
        _ => None,
    });
    let sources = transfers.flatten().flat_map(|transfer| transfer.sources.clone());
    assert_eq!(sources.collect::<Vec<String>>(), theirs);
}
