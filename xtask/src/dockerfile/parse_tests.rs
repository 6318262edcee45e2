//! Unit tests of `parse.rs`. Every case was tried with BuildKit.

use super::*;

/// The statements, one a line: `line keyword [flags] rest`.
fn told(text: &str) -> Vec<String> {
    match escape(text).and_then(|escape| statements(text, escape)) {
        Ok(statements) => statements
            .iter()
            .map(|s| {
                format!(
                    "{} {} {}{}",
                    s.line,
                    s.keyword,
                    s.flags.iter().map(|f| format!("[{f}] ")).collect::<String>(),
                    s.rest
                )
            })
            .collect(),
        Err(fault) => vec![format!("line {}: {}", fault.line, fault.what)],
    }
}

#[test]
fn here_documents_are_not_instructions() {
    for operator in [
        "cat <<EOF > /f",
        "<<EOF",
        "true && cat > /f <<EOF",
        "python3 - <<\"EOF\"",
        "python3 - <<'EOF'",
        "cat > /f << EOF",
        "cat > /f <<  EOF",
        "cat <&3 3<<EOF",
        "cat <<-EOF",
        "cat <<-\"EOF\"",
        "echo ${x:0:3} ${x//a/b} ${x#\\v} $(id) <<E\\OF",
    ] {
        let text = format!("FROM a\nRUN {operator}\nRUN inner\nCOPY x y\nEOF\nCOPY b c\n");
        assert_eq!(told(&text), ["1 from a", &format!("2 run {operator}"), "6 copy b c"], "{operator}");
    }
}

#[test]
fn words_that_only_look_like_a_here_document() {
    for command in [
        "cat <<< \"x\"",
        "cat <<<x",
        "cat>/f<<EOF",
        "cat <<- EOF",
        "cat x<< <<EOF",
        "cat x<<  EOF",
        "echo \"<<EOF\"",
        "echo '<<EOF'",
        "echo \\<<EOF",
        "echo $((1<<4))",
        "echo <<",
        "[\"cat\", \"<<EOF\"]",
        "echo it's <<EOF",
        "echo ${x^^} <<EOF",
        "echo $y ${x:#a} <<EOF",
    ] {
        let text = format!("FROM a\nRUN {command}\nCOPY b c\n");
        assert_eq!(told(&text), ["1 from a", &format!("2 run {command}"), "3 copy b c"], "{command}");
    }
    assert_eq!(told("FROM a\nCMD cat <<EOF\nCOPY b c"), ["1 from a", "2 cmd cat <<EOF", "3 copy b c"]);
}

#[test]
fn here_documents_end_where_their_delimiter_says() {
    assert_eq!(told("FROM a\nRUN cat <<RUN\nRUN x\nRUN\nUSER u"), ["1 from a", "2 run cat <<RUN", "5 user u"]);
    assert_eq!(
        told("FROM a\nRUN cat <<A && cat <<B\nB\nA\nA\nB\nUSER u"),
        ["1 from a", "2 run cat <<A && cat <<B", "7 user u"]
    );
    assert_eq!(told("FROM a\nCOPY <<X <<Y /d\nY\nX\nX\nY\nUSER u"), ["1 from a", "2 copy <<X <<Y /d", "7 user u"]);
    assert_eq!(told("FROM a\nRUN cat <<-E\n\tx\n\t\tE\nUSER u"), ["1 from a", "2 run cat <<-E", "5 user u"]);
    assert_eq!(told("FROM a\nRUN cat <<E\n\tE\nE \n E\nE\nUSER u"), ["1 from a", "2 run cat <<E", "7 user u"]);
    assert_eq!(told("FROM a\nRUN cat <<'E F'\nx\nE F\nUSER u"), ["1 from a", "2 run cat <<'E F'", "5 user u"]);
    assert_eq!(told("FROM a\nRUN cat <<E;\nE\nE;\nUSER u"), ["1 from a", "2 run cat <<E;", "5 user u"]);
    assert_eq!(told("FROM a\nRUN cat <<$E\nE\n$E\nUSER u"), ["1 from a", "2 run cat <<$E", "5 user u"]);
    assert_eq!(told("FROM a\r\nRUN cat <<E\r\nx\r\nE\r\nUSER u\r\n"), ["1 from a", "2 run cat <<E", "5 user u"]);
    assert_eq!(
        told("FROM a\nONBUILD RUN cat <<E\nRUN x\nE\nUSER u"),
        ["1 from a", "2 onbuild RUN cat <<E", "5 user u"]
    );
    assert_eq!(told("FROM a\nRUN cat <<E\nx"), ["line 2: the here-document `<<E` is not terminated"]);
    assert_eq!(told("FROM a\nRUN echo $((1 << 4))\nUSER u"), ["line 2: the here-document `<<4))` is not terminated"]);
}

#[test]
fn lines_are_continued() {
    assert_eq!(
        told("FROM a\nCOPY b \\\n c \\  \n\n  # it's a comment\n\t\n d\nUSER u"),
        ["1 from a", "2 copy b  c  d", "8 user u"]
    );
    assert_eq!(told("FROM a\nENV A=b\\\\\nUSER u"), ["1 from a", "2 env A=b\\\\", "3 user u"]);
    assert_eq!(told("FROM a\nENV A=b\\\\\\\nUSER u"), ["1 from a", "2 env A=b\\\\\\", "3 user u"]);
    assert_eq!(told("FROM a\n\\\nCO\\\nPY b c \\\n"), ["1 from a", "2 copy b c"]);
    assert_eq!(told("FROM a\r\nCOPY \\\r\n b \\\r\n # c\r\n\r\n /d\r\n"), ["1 from a", "2 copy b  /d"]);
    assert_eq!(told("  # c\n\nFROM\ta\n # d\n  copy\tb\tc"), ["3 from a", "5 copy b\tc"]);
    assert_eq!(
        told("FROM a\nRUN true && \\\n  # it's\n  cat <<E\nRUN x\nE\nUSER u"),
        ["1 from a", "2 run true &&   cat <<E", "7 user u"]
    );
}

#[test]
fn directives() {
    assert_eq!(told(" # escape=`\nFROM a\nCOPY b `\n c\\\nUSER u"), ["2 from a", "3 copy b  c\\", "5 user u"]);
    assert_eq!(told("\n# escape=`\nFROM a\nCOPY b \\\n c"), ["3 from a", "4 copy b  c"]);
    assert_eq!(told("# other=1\n# escape=`\nFROM a\nCOPY b \\\n c"), ["3 from a", "4 copy b  c"]);
    assert_eq!(told("# Escape = \\ \n# ESCAPE=`\nFROM a"), ["line 2: a second `escape` directive"]);
    assert_eq!(told("# escape=x\nFROM a"), ["line 1: `x` is not an escape character"]);
    assert_eq!(Dockerfile::parse("\u{feff}# escape=`\nFROM a`\nb").unwrap().stages[0].image, "ab");
    assert_eq!(told(""), ["line 1: a Dockerfile without instructions"]);
    assert_eq!(told("# a\n\n# b\n"), ["line 3: a Dockerfile without instructions"]);
}

#[test]
fn the_frontend_that_syntax_names() {
    let syntax = |text: &str| Dockerfile::parse(text).unwrap().syntax;
    let at = |line, image: &str| Some(Base { written: image.to_owned(), line: Some(line), role: BaseRole::Frontend });
    assert_eq!(syntax("# syntax=docker/dockerfile:1\nFROM a"), at(1, "docker/dockerfile:1"));
    assert_eq!(syntax("\u{feff}#Syntax = a/b:c extra\r\nFROM a"), at(1, "a/b:c"));
    assert_eq!(syntax("#!/usr/bin/env x\n# escape=`\n# syntax=a\nFROM a"), at(3, "a"));
    for text in ["FROM a\n# syntax=a", " # syntax=a\nFROM a", "# c\n# syntax=a\nFROM a", "\n# syntax=a\nFROM a"] {
        assert_eq!(syntax(text), None, "{text:?}");
    }
}

#[test]
fn flags_lose_their_quotes() {
    assert_eq!(told("FROM a\nCOPY --from=\"s\"t --link b c"), ["1 from a", "2 copy [--from=st] [--link] b c"]);
    assert_eq!(
        told("FROM a\nRUN --mount='type=bind,target=/x y' \\\n --network=none echo --x"),
        ["1 from a", "2 run [--mount=type=bind,target=/x y] [--network=none] echo --x"]
    );
    assert_eq!(told("FROM a\nCOPY -- --b c"), ["1 from a", "2 copy --b c"]);
    assert_eq!(told("FROM a\nCOPY b --link c"), ["1 from a", "2 copy b --link c"]);
}

#[test]
fn json_arguments() {
    let json = |rest: &str| Statement::parse(7, &format!("COPY {rest}")).json();
    assert_eq!(json("[\"a b\", \"\\u0063\"]"), Ok(Some(vec!["a b".to_owned(), "c".to_owned()])));
    assert_eq!(json("[]"), Ok(Some(vec![])));
    assert_eq!(json("['a', 'b']"), Ok(None));
    assert_eq!(json("[\"a\"] b"), Ok(None));
    assert_eq!(json("a b"), Ok(None));
    let fault = json("[\"a\", 1]").unwrap_err();
    assert_eq!((fault.line, fault.what.as_str()), (7, "a JSON array may hold strings only"));
}

#[test]
fn words_keep_their_quotes_and_escapes() {
    let words = |text, escape| words(text, escape).collect::<Vec<&str>>();
    assert_eq!(words(" x  '<<A b' \"c d\" \\  e\\ ", '\\'), ["x", "'<<A b'", "\"c d\"", "\\ ", "e\\ "]);
    assert_eq!(words("a` b 'c` d' e\\ f", '`'), ["a` b", "'c` d'", "e\\", "f"]);
    assert_eq!(words("it's one", '\\'), ["it's one"]);
    assert_eq!(words("  ", '\\'), [""; 0]);
}
