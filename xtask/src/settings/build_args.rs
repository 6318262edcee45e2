//! The `args` of a `job.json`: what docker cannot take, and what looks like a secret, which a build argument never is.

use std::collections::BTreeMap;

use crate::model::Problem;

/// The words of a name that holds a secret, parted as in `ACCESS_KEY`. `PGPASSWORD` is how libpq spells its own.
const SECRET_WORDS: &str = "PASSWORD PASSWD PGPASSWORD SECRET TOKEN CREDENTIAL APIKEY API_KEY PRIVATE_KEY ACCESS_KEY";
/// How credentials begin, as their issuers document it.
const CREDENTIAL_PREFIXES: [&str; 9] =
    ["AKIA", "ASIA", "ghp_", "gho_", "ghs_", "github_pat_", "xoxb-", "npm_", "-----BEGIN"];

/// Checks build arguments; `not_secrets` are the names that look like a secret's and are none.
pub fn check(path: &str, args: &BTreeMap<String, String>, not_secrets: &[String]) -> Vec<Problem> {
    let of_arg = |(name, value): (&String, &String)| check_arg(path, name, value, not_secrets);
    let of_exception = |name: &String| {
        let problem = Problem::new(format!("{path}: not-secrets: `{name}`"), "there is no such build argument");
        let problem = problem.rule("`not-secrets` lists names that stand in `args`").help("remove it");
        problem.did_you_mean(name, args.keys().map(String::as_str))
    };
    let unknown = not_secrets.iter().filter(|name| !args.contains_key(*name));
    args.iter().filter_map(of_arg).chain(unknown.map(of_exception)).collect()
}

fn check_arg(path: &str, name: &str, value: &str, not_secrets: &[String]) -> Option<Problem> {
    const READABLE: &str = "anyone who has the image or the repository can read build arguments";
    const MOUNT: &str = "name it under `secrets` in job.json, and mount it: RUN --mount=type=secret,id=…";
    let problem = |what: &str| Problem::new(format!("{path}: args: `{name}`"), what);
    let is_name = !name.is_empty() && !name.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control());
    let is_allowed = !sounds_secret(name) || not_secrets.iter().any(|known| known == name);
    Some(if !is_name {
        problem("not the name of a build argument")
            .rule("a name is not empty, and has no `=`, no space and no control character")
            .help("write its name and its value apart: \"NAME\": \"value\"")
    } else if value.contains('\0') {
        problem("its value has a NUL character").rule("no argument of a program can have one").help("remove it")
    } else if is_credential(value) {
        problem("its value has the form of a credential")
            .rule(READABLE)
            .help(format!("revoke it, because it has been in a file; then {MOUNT}"))
    } else if !is_allowed {
        problem("looks like a secret")
            .rule(READABLE)
            .help(format!("{MOUNT}; if it is no secret, say so in job.json: \"not-secrets\": [\"{name}\"]"))
    } else {
        return None;
    })
}

/// Whether a text has the form in which an issuer gives out credentials.
pub fn is_credential(text: &str) -> bool {
    CREDENTIAL_PREFIXES.iter().any(|prefix| text.strip_prefix(prefix).is_some_and(|rest| rest.len() > 8))
}

/// Whether the words of a name say that it holds a secret. Only whole words count: `TOKENIZERS` are no `TOKENS`.
fn sounds_secret(name: &str) -> bool {
    let name = name.to_uppercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).collect();
    let is = |word: &str, secret: &str| word.strip_suffix('S').unwrap_or(word) == secret || word == secret;
    SECRET_WORDS.split(' ').any(|secret| {
        let secret: Vec<&str> = secret.split('_').collect();
        words.windows(secret.len()).any(|window| window.iter().zip(&secret).all(|(word, secret)| is(word, secret)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(args: &[(&str, &str)], not_secrets: &[&str]) -> Vec<String> {
        let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let not_secrets: Vec<String> = not_secrets.iter().map(|name| (*name).to_owned()).collect();
        check("j", &args, &not_secrets).iter().map(Problem::to_string).collect()
    }

    fn secret(name: &str) -> String {
        format!(
            "j: args: `{name}`: looks like a secret\n  \
             rule: anyone who has the image or the repository can read build arguments\n  \
             help: name it under `secrets` in job.json, and mount it: RUN --mount=type=secret,id=…; \
             if it is no secret, say so in job.json: \"not-secrets\": [\"{name}\"]"
        )
    }

    #[test]
    fn whole_words_make_a_name_look_like_a_secret() {
        for name in [
            "PASSWORD",
            "DB_PASSWORD",
            "db-passwords",
            "PASSWD",
            "PGPASSWORD",
            "SECRET",
            "CLIENT_SECRETS",
            "NPM_TOKEN",
            "npm_token",
            "TOKENS",
            "TOKEN_COUNT",
            "APIKEY",
            "MY_APIKEYS",
            "API_KEY",
            "API_KEYS",
            "API-KEY",
            "PRIVATE_KEY",
            "AWS_ACCESS_KEY_ID",
            "CREDENTIALS",
            "GCP.CREDENTIAL",
        ] {
            assert_eq!(complaints(&[(name, "x")], &[]), [secret(name)]);
        }
        for name in [
            "TOKENIZERS",
            "TOKENIZER",
            "SECRETARY",
            "PASSWORDLESS",
            "APIKEYBOARD",
            "KEY",
            "API",
            "API_KEYRING",
            "ACCESS",
            "KEY_ACCESS",
            "PRIVATE_REPOSITORY_KEY",
            "CREDENTIALED",
            "S",
            "PROFILE",
        ] {
            assert_eq!(complaints(&[(name, "x")], &[]), [""; 0], "{name}");
        }
    }

    #[test]
    fn an_exception_covers_a_name_and_never_a_credential() {
        assert_eq!(complaints(&[("TOKEN_COUNT", "4096")], &["TOKEN_COUNT"]), [""; 0]);
        assert_eq!(complaints(&[("TOKEN_COUNT", "1"), ("API_KEY", "x")], &["TOKEN_COUNT"]), [secret("API_KEY")]);
        for value in ["AKIAIOSFODNN7EXAMPLE", "ghp_0123456789abcdef", "-----BEGIN RSA PRIVATE KEY-----"] {
            assert_eq!(
                complaints(&[("TOKEN_COUNT", value)], &["TOKEN_COUNT"]),
                ["j: args: `TOKEN_COUNT`: its value has the form of a credential\n  \
                  rule: anyone who has the image or the repository can read build arguments\n  \
                  help: revoke it, because it has been in a file; then name it under `secrets` in job.json, and \
                  mount it: RUN --mount=type=secret,id=…"]
            );
        }
        assert_eq!(complaints(&[("PREFIX", "npm_")], &[]), [""; 0]);
    }

    #[test]
    fn an_exception_is_about_an_argument() {
        assert_eq!(
            complaints(&[("TOKEN_COUNT", "1")], &["TOKEN_COUNT", "TOKEN_CUONT"]),
            ["j: not-secrets: `TOKEN_CUONT`: there is no such build argument\n  \
              rule: `not-secrets` lists names that stand in `args`\n  help: did you mean `TOKEN_COUNT`?"]
        );
        assert_eq!(
            complaints(&[], &["TOKEN_COUNT"]),
            ["j: not-secrets: `TOKEN_COUNT`: there is no such build argument\n  \
              rule: `not-secrets` lists names that stand in `args`\n  help: remove it"]
        );
    }

    #[test]
    fn names_and_values_are_such_as_docker_takes() {
        for (name, shown) in [("", ""), ("A=B", "A=B"), ("A B", "A B"), ("A\n", "A\\n"), ("A\0", "A\\u{0}")] {
            assert_eq!(
                complaints(&[(name, "x")], &[]),
                [format!(
                    "j: args: `{shown}`: not the name of a build argument\n  \
                     rule: a name is not empty, and has no `=`, no space and no control character\n  \
                     help: write its name and its value apart: \"NAME\": \"value\""
                )]
            );
        }
        assert_eq!(
            complaints(&[("A", "x\0y"), ("B", "two\nlines=1")], &[]),
            [
                "j: args: `A`: its value has a NUL character\n  rule: no argument of a program can have one\n  help: remove it"
            ]
        );
    }
}
