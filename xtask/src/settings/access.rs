//! How a registry is logged in to: decided from what is configured and what the runner offers.

use crate::model::problem::Problem;
use crate::model::reference::Registry;

/// Who receives GitHub's token: AWS's token service, as its identity provider for GitHub is set up by default.
const AUDIENCE: &str = "sts.amazonaws.com";

/// What decides how a registry is logged in to.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    pub registry: &'a Registry,
    pub role: Option<&'a str>,
    pub region: Option<&'a str>,
    pub username: Option<&'a str>,
    pub runner: Runner,
}

/// Where this runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// In GitHub Actions, where the workflow may ask for an identity token.
    Vouched,
    /// In GitHub Actions without that permission.
    Plain,
    /// Anywhere else.
    Elsewhere,
}

/// How a registry is logged in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// GitHub vouches for the workflow, and the AWS client assumes the role.
    Role { role: &'a str, region: &'a str },
    /// The AWS client has credentials by itself.
    Client { region: &'a str },
    /// With a user's name and a password.
    Password { username: &'a str },
    /// Not at all: the registry is this machine's own.
    Open,
}

impl<'a> Circumstances<'a> {
    /// Whether the registry is ECR's: by its host, or because a role is configured for it, which has no other use.
    pub fn is_ecr(&self) -> bool {
        self.registry.ecr().is_some() || self.role.is_some()
    }

    /// # Errors
    /// What is not configured, with exit code 2; what the workflow lacks, with 4.
    pub fn access(&self) -> anyhow::Result<Access<'a>> {
        if self.is_ecr() {
            return self.ecr();
        }
        match self.username {
            Some(username) => Ok(Access::Password { username }),
            None if self.registry.is_loopback() => Ok(Access::Open),
            None => Err(Problem::new(format!("registry `{}`", self.registry), "no user name to log in with")
                .help("set JOBS_USERNAME and JOBS_PASSWORD, or give --username and --password-stdin")
                .usage()),
        }
    }

    fn ecr(&self) -> anyhow::Result<Access<'a>> {
        let Some(region) = self.region else {
            return Err(Problem::new(format!("registry `{}`", self.registry), "its AWS region is not known")
                .help("set AWS_REGION, or `region` of the target in Cargo.toml")
                .usage());
        };
        match (self.role, self.runner) {
            (Some(role), Runner::Vouched) => Ok(Access::Role { role, region }),
            (Some(role), Runner::Plain) => Err(Problem::new(
                format!("role `{role}`"),
                "GitHub gives this workflow no identity token to assume it with",
            )
            .rule("a job asks for the token by a permission, and a pull request from a fork never gets one")
            .help("add `id-token: write` to the job's `permissions` in the workflow")
            .missing()),
            _ => Ok(Access::Client { region }),
        }
    }
}

/// Where GitHub hands out the identity token.
///
/// # Errors
/// The address would send the workflow's token over the network in the clear.
pub fn token_url(base: &str) -> Result<String, Problem> {
    let loopback = base.strip_prefix("http://").is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        host.parse().is_ok_and(|host: Registry| host.is_loopback())
    });
    if !loopback && !base.starts_with("https://") {
        return Err(Problem::new("ACTIONS_ID_TOKEN_REQUEST_URL", "not an `https://` address")
            .rule("the workflow's token is sent encrypted")
            .help("leave the variable as GitHub sets it"));
    }
    let joint = if base.contains('?') { '&' } else { '?' };
    Ok(format!("{base}{joint}audience={AUDIENCE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECR: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
    const ROLE: &str = "arn:aws:iam::111122223333:role/jobs-push";

    fn access(
        host: &str,
        role: Option<&str>,
        region: Option<&str>,
        username: Option<&str>,
        runner: Runner,
    ) -> Result<String, String> {
        let registry: Registry = host.parse().unwrap();
        let circumstances = Circumstances { registry: &registry, role, region, username, runner };
        circumstances.access().map(|access| format!("{access:?}")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_workflow_assumes_the_role_and_a_laptop_uses_its_own_credentials() {
        let (role, region) = (Some(ROLE), Some("eu-west-1"));
        let assumed = format!("Role {{ role: {ROLE:?}, region: \"eu-west-1\" }}");
        let own = "Client { region: \"eu-west-1\" }".to_owned();
        assert_eq!(access(ECR, role, region, None, Runner::Vouched), Ok(assumed.clone()));
        assert_eq!(access("127.0.0.1:5000", role, region, None, Runner::Vouched), Ok(assumed));
        assert_eq!(access(ECR, role, region, None, Runner::Elsewhere), Ok(own.clone()));
        assert_eq!(access(ECR, None, region, Some("me"), Runner::Plain), Ok(own));
    }

    #[test]
    fn other_registries_take_a_name_and_a_password() {
        let password = Ok("Password { username: \"me\" }".to_owned());
        assert_eq!(access("registry.example.com", None, None, Some("me"), Runner::Vouched), password);
        assert_eq!(access("127.0.0.1:5000", None, None, Some("me"), Runner::Elsewhere), password);
        assert_eq!(access("127.0.0.1:5000", None, None, None, Runner::Elsewhere), Ok("Open".to_owned()));
        assert_eq!(
            access("registry.example.com", None, None, None, Runner::Elsewhere).unwrap_err(),
            "registry `registry.example.com`: no user name to log in with\n  \
             help: set JOBS_USERNAME and JOBS_PASSWORD, or give --username and --password-stdin"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            access("127.0.0.1:5000", Some(ROLE), None, None, Runner::Elsewhere).unwrap_err(),
            "registry `127.0.0.1:5000`: its AWS region is not known\n  \
             help: set AWS_REGION, or `region` of the target in Cargo.toml"
        );
        assert_eq!(
            access(ECR, Some(ROLE), Some("eu-west-1"), None, Runner::Plain).unwrap_err(),
            format!(
                "role `{ROLE}`: GitHub gives this workflow no identity token to assume it with\n  \
                 rule: a job asks for the token by a permission, and a pull request from a fork never gets one\n  \
                 help: add `id-token: write` to the job's `permissions` in the workflow"
            )
        );
    }

    #[test]
    fn the_token_is_asked_for_over_https() {
        let url = "https://token.example.com/x?api-version=2.0";
        assert_eq!(token_url(url).unwrap(), format!("{url}&audience=sts.amazonaws.com"));
        assert_eq!(token_url("http://127.0.0.1:80/x").unwrap(), "http://127.0.0.1:80/x?audience=sts.amazonaws.com");
        for bad in ["http://token.example.com/", "http://127.0.0.1.example.com/", "file:///etc/passwd", ""] {
            assert!(token_url(bad).unwrap_err().to_string().starts_with("ACTIONS_ID_TOKEN_REQUEST_URL: "), "{bad}");
        }
    }
}
