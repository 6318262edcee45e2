//! What the AWS client is asked about repositories, and how it makes them.

use std::collections::BTreeMap;

use serde_json::Value;
use xshell::{Cmd, Shell, cmd};

use super::AwsClient;
use crate::model::{CreationTemplate, EcrRepository, Exit, LifecycleRule, Problem, lifecycle_rules};
use crate::run::fleet;
use crate::tools::process;

/// A digest that no layer has: asking for it needs the same right, and neither downloads nor makes anything.
const NO_LAYER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// A tag that no image of this tool has.
const NO_TAG: &str = "imageTag=xtask-ecr-check";
/// How many calls of the client run side by side: each needs the processor more than the network.
const PARALLEL: usize = 4;

impl AwsClient<'_> {
    /// Those of the repositories that exist, each with its lifecycle policy, by name.
    pub fn inspect(&self, names: &[String]) -> anyhow::Result<BTreeMap<String, EcrRepository>> {
        // One call for all of them: nobody has to know which exist, and the client asks page by page.
        let stdout = self.read(|sh| self.command(sh, "describe-repositories", &["--page-size", "1000"]))?;
        let answer: Value = serde_json::from_str(&stdout)?;
        let name = |described: &Value| described["repositoryName"].as_str().unwrap_or_default().to_owned();
        let mut existing: Vec<&Value> = answer["repositories"].as_array().into_iter().flatten().collect();
        existing.retain(|described| names.contains(&name(described)));
        let found = fleet::all(self.ctx, PARALLEL, &existing, |described| {
            Ok(repository(described, self.lifecycle_policy(&name(described))?))
        })?;
        let mut found: BTreeMap<String, EcrRepository> = existing.into_iter().map(name).zip(found).collect();
        if found.values().any(|repository| !repository.scan_on_push) {
            let configuration = self.scanning();
            found.iter_mut().for_each(|(name, repository)| repository.scan_on_push |= is_scanned(&configuration, name));
        }
        Ok(found)
    }

    /// What the registry says of scanning; nothing, with a warning, where the role may not ask.
    fn scanning(&self) -> Value {
        let told = self.of_registry("get-registry-scanning-configuration");
        told.unwrap_or_else(|error| {
            self.ctx.ui.warning(format!("{error:#}"));
            Value::Null
        })
    }

    /// How many tags the image of a repository has that has most of them.
    ///
    /// # Errors
    /// AWS refuses.
    pub fn most_tags(&self, name: &str) -> anyhow::Result<usize> {
        let query = "imageIds[].imageDigest";
        let args = ["--repository-name", name, "--filter", "tagStatus=TAGGED", "--page-size", "1000", "--query", query];
        let mut digests: Vec<String> = serde_json::from_str(&self.read(|sh| self.command(sh, "list-images", &args))?)?;
        digests.sort();
        Ok(digests.chunk_by(|one, other| one == other).map(<[_]>::len).max().unwrap_or_default())
    }

    /// The templates by which ECR makes repositories that are not there.
    ///
    /// # Errors
    /// AWS refuses to tell, or tells of another account: then it is not known which there are.
    pub fn creation_templates(&self) -> anyhow::Result<Vec<CreationTemplate>> {
        let answer = self.of_registry("describe-repository-creation-templates")?;
        let templates = answer["repositoryCreationTemplates"].as_array().into_iter().flatten();
        templates.map(template).collect::<Result<_, _>>().map_err(|problem| problem.exit(Exit::Missing))
    }

    /// What an action tells of the registry of the credentials, which has to be the target's.
    fn of_registry(&self, action: &str) -> anyhow::Result<Value> {
        let region = self.region;
        let answer: Value =
            serde_json::from_str(&self.read(|sh| cmd!(sh, "aws ecr {action} --region {region} --output json"))?)?;
        let told = answer["registryId"].as_str().unwrap_or_default();
        match self.account.filter(|account| *account != told) {
            None => Ok(answer),
            Some(account) => Err(Problem::new(format!("`aws ecr {action}`"), format!("tells of account {told}"))
                .rule(format!("the registry is that of account {account}"))
                .help("use credentials of that account")
                .exit(Exit::Missing)),
        }
    }

    fn lifecycle_policy(&self, name: &str) -> anyhow::Result<Option<Vec<LifecycleRule>>> {
        let outcome = self.run(|sh| self.command(sh, "get-lifecycle-policy", &["--repository-name", name]))?;
        if outcome.stderr.contains("LifecyclePolicyNotFoundException") {
            return Ok(None);
        }
        let answer: Value = serde_json::from_str(&self.accepted(outcome)?)?;
        let text = answer["lifecyclePolicyText"].as_str().unwrap_or_default();
        let rules = lifecycle_rules(&format!("lifecycle policy of `{name}`"), text);
        rules.map(Some).map_err(|problem| problem.exit(Exit::Missing))
    }

    /// Tries what a login, a push and a pull begin with, and tells what AWS refuses. Nothing is changed, and nothing
    /// secret printed: of the login's answer, the client shows only the date.
    pub fn refused_rights(&self, name: &str) -> anyhow::Result<Vec<Problem>> {
        let region = self.region;
        let query = "authorizationData[0].expiresAt";
        let layers = ["--repository-name", name, "--layer-digests", NO_LAYER];
        let calls = [
            self.run(|sh| cmd!(sh, "aws ecr get-authorization-token --region {region} --query {query}"))?,
            self.run(|sh| self.command(sh, "batch-check-layer-availability", &layers))?,
            self.run(|sh| self.command(sh, "batch-get-image", &["--repository-name", name, "--image-ids", NO_TAG]))?,
        ];
        let refused = calls.iter().filter(|outcome| !outcome.success());
        Ok(refused.map(|outcome| self.refused(outcome)).collect())
    }

    /// The commands with which [`AwsClient::create`] makes a repository, as they can be pasted into a shell.
    pub fn creation(&self, name: &str, wanted: &EcrRepository, policy_file: &str) -> anyhow::Result<Vec<String>> {
        let mut commands = vec![process::shown(self.ctx, |sh| self.create_repository(sh, name, wanted))?];
        if wanted.policy.is_some() {
            commands.push(process::shown(self.ctx, |sh| self.put_policy(sh, name, policy_file))?);
        }
        Ok(commands)
    }

    /// Makes a repository, and gives it its lifecycle policy, which is in a file. One that somebody else has just made
    /// is as good, and left as it is.
    ///
    /// # Errors
    /// AWS refuses.
    pub fn create(&self, name: &str, wanted: &EcrRepository, policy_file: &str) -> anyhow::Result<()> {
        let created = self.run(|sh| self.create_repository(sh, name, wanted))?;
        if created.stderr.contains("RepositoryAlreadyExistsException") {
            self.ctx.ui.status("Unchanged", format!("{name}: somebody else has just made it"));
            return Ok(());
        }
        self.accepted(created)?;
        if wanted.policy.is_some() {
            self.read(|sh| self.put_policy(sh, name, policy_file))?;
        }
        self.ctx.ui.status("Made", name);
        Ok(())
    }

    fn create_repository<'s>(&self, sh: &'s Shell, name: &str, wanted: &EcrRepository) -> Cmd<'s> {
        let create = self.command(sh, "create-repository", &["--repository-name", name]);
        let create = create.args(wanted.mutability_flags());
        create.args(["--image-scanning-configuration", &format!("scanOnPush={}", wanted.scan_on_push)])
    }

    fn put_policy<'s>(&self, sh: &'s Shell, name: &str, policy_file: &str) -> Cmd<'s> {
        let file = format!("file://{policy_file}");
        self.command(sh, "put-lifecycle-policy", &["--repository-name", name, "--lifecycle-policy-text", &file])
    }

    /// A command about the registry: its account is given where it is known, else it is that of the credentials.
    fn command<'s>(&self, sh: &'s Shell, action: &str, args: &[&str]) -> Cmd<'s> {
        let region = self.region;
        let account = self.account.iter().flat_map(|account| ["--registry-id", account]);
        cmd!(sh, "aws ecr {action} --region {region} --output json {account...} {args...}")
    }
}

/// A template as `describe-repository-creation-templates` tells of it.
fn template(described: &Value) -> Result<CreationTemplate, Problem> {
    let prefix = described["prefix"].as_str().unwrap_or_default().to_owned();
    let policy = described["lifecyclePolicy"].as_str().filter(|text| !text.is_empty());
    let policy = policy.map(|text| lifecycle_rules(&format!("creation template `{prefix}`"), text)).transpose()?;
    let on_push = described["appliedFor"].as_array().into_iter().flatten().any(|action| action == "CREATE_ON_PUSH");
    // A template says nothing of scanning: what the registry does about it shows when the repository is there.
    let repository = EcrRepository { scan_on_push: true, ..repository(described, policy) };
    Ok(CreationTemplate { prefix, on_push, repository })
}

/// A repository as `describe-repositories` tells of it, which leaves out what is not set.
fn repository(described: &Value, policy: Option<Vec<LifecycleRule>>) -> EcrRepository {
    let filters = described["imageTagMutabilityExclusionFilters"].as_array().into_iter().flatten();
    EcrRepository {
        tag_mutability: described["imageTagMutability"].as_str().unwrap_or("MUTABLE").to_owned(),
        exclusions: filters.filter_map(|filter| filter["filter"].as_str()).map(str::to_owned).collect(),
        scan_on_push: described["imageScanningConfiguration"]["scanOnPush"] == true,
        most_tags: 0,
        policy,
    }
}

/// Whether a registry's setting has the images of a repository scanned when they are pushed. A [filter] without a `*`
/// matches every name that it is a part of.
///
/// [filter]: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-scanning-filters.html
fn is_scanned(configuration: &Value, name: &str) -> bool {
    let rules = configuration["scanningConfiguration"]["rules"].as_array().into_iter().flatten();
    let scanning =
        rules.filter(|rule| matches!(rule["scanFrequency"].as_str(), Some("SCAN_ON_PUSH" | "CONTINUOUS_SCAN")));
    let mut filters = scanning.flat_map(|rule| rule["repositoryFilters"].as_array().into_iter().flatten());
    filters.any(|filter| {
        let filter = filter["filter"].as_str().unwrap_or_default();
        let matches = |pattern: glob::Pattern| pattern.matches(name);
        if filter.contains('*') { glob::Pattern::new(filter).is_ok_and(matches) } else { name.contains(filter) }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_registry_scans_what_its_filters_match() {
        let scans = |frequency: &str, filter: &str, name: &str| {
            let filters = [json!({ "filter": filter, "filterType": "WILDCARD" })];
            let rules = json!([{ "scanFrequency": frequency, "repositoryFilters": filters }]);
            is_scanned(&json!({ "scanningConfiguration": { "scanType": "BASIC", "rules": rules } }), name)
        };
        for (filter, is_match) in [("*", true), ("jobs", true), ("jobs/*", true), ("*jobs", false), ("prod", false)] {
            assert_eq!(scans("SCAN_ON_PUSH", filter, "jobs/a"), is_match, "{filter}");
        }
        assert!(scans("CONTINUOUS_SCAN", "*", "jobs/a") && !scans("MANUAL", "*", "jobs/a"));
        assert!(!is_scanned(&Value::Null, "jobs/a"));
    }
}
