//! How a registry wants to know who asks: the challenge in `WWW-Authenticate`, and where a token is to be had.
//! The second follows [docker's token authentication](https://distribution.github.io/distribution/spec/auth/token/),
//! which registries share although the OCI's specification leaves it open. Pure.

/// A registry's challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer { realm: String, service: String },
}

impl Challenge {
    /// Reads the values of `WWW-Authenticate`; a token goes before a password.
    pub fn of<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
        values.filter_map(parse).max_by_key(|challenge| matches!(challenge, Challenge::Bearer { .. }))
    }
}

fn parse(value: &str) -> Option<Challenge> {
    let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            let parameter = |name| parameters(rest).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
            Some(Challenge::Bearer { realm: parameter("realm")?, service: parameter("service").unwrap_or_default() })
        }
        _ => None,
    }
}

/// The parameters `name="value"`; a comma may stand within the quotes.
fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (name, value) = rest.trim_start_matches([',', ' ']).split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_once(',').unwrap_or((value, "")),
        };
        rest = after;
        Some((name.trim(), value))
    })
}

/// What a token server is asked for: rights such as `repository:jobs/a:pull`.
pub fn query<'a>(service: &str, scopes: impl Iterator<Item = &'a str>) -> String {
    let scopes = scopes.map(|scope| format!("&scope={}", escaped(scope)));
    format!("service={}{}", escaped(service), scopes.collect::<String>())
}

/// A value in a query.
fn escaped(value: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    value.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let of = |values: &[&str]| Challenge::of(values.iter().copied());
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"a,b\"";
        let bearer = Challenge::Bearer {
            realm: "https://auth.docker.io/token".to_owned(),
            service: "registry.docker.io".to_owned(),
        };
        assert_eq!(of(&[hub]), Some(bearer.clone()));
        assert_eq!(
            of(&["Basic realm=\"https://1.dkr.ecr.eu-west-1.amazonaws.com/\",service=\"ecr\""]),
            Some(Challenge::Basic)
        );
        assert_eq!(of(&["bearer scope=\"a\", service=x , realm=\"r\""]).map(|c| c != bearer), Some(true));
        assert_eq!(of(&["Basic realm=x", hub]), Some(bearer));
        assert_eq!(of(&["Negotiate", "Bearer service=\"s\"", "Bearer realm=\"open"]), None);
    }

    #[test]
    fn one_query_names_all_scopes() {
        assert_eq!(
            query("my registry", ["repository:jobs/a:pull", "repository:jobs/b:pull,push"].into_iter()),
            "service=my%20registry&scope=repository:jobs/a:pull&scope=repository:jobs/b:pull%2Cpush"
        );
    }
}
