//! What is set in ECR for all repositories of a registry: how those are made that the first push makes.
//!
//! The rules are those of ECR's user guide, [creation templates].
//!
//! [creation templates]: https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-creation-templates.html

use super::EcrRepository;

/// The prefix of the template for every repository that no other is for.
const ROOT: &str = "ROOT";

/// How ECR makes the repositories below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreationTemplate {
    pub prefix: String,
    /// Whether a push makes them; else it is replication, or a cache of another registry, that does.
    pub on_push: bool,
    pub repository: EcrRepository,
}

impl CreationTemplate {
    /// The template by which the first push makes a repository, if there is one. The longest prefix decides.
    pub fn for_push<'t>(templates: &'t [CreationTemplate], name: &str) -> Option<&'t CreationTemplate> {
        let covers = |template: &&CreationTemplate| {
            let below = name.strip_prefix(&template.prefix);
            template.prefix == ROOT || below.is_some_and(|rest| rest.starts_with('/'))
        };
        let length = |template: &&CreationTemplate| if template.prefix == ROOT { 0 } else { template.prefix.len() };
        templates.iter().filter(covers).max_by_key(length).filter(|template| template.on_push)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arch, Publishing, Tag};

    #[test]
    fn the_template_with_the_longest_prefix_decides() {
        let tag: Tag = "0123456".parse().unwrap();
        let publishing = Publishing { tag: &tag, arches: &Arch::ALL, moving_tags: &[], caches: false };
        let template = |prefix: &str, on_push| CreationTemplate {
            prefix: prefix.to_owned(),
            on_push,
            repository: EcrRepository::wanted(&publishing, None).unwrap(),
        };
        let templates = [template("jobs", true), template("jobs/old", false), template("jobs/old/new", true)];
        let found = |templates: &[CreationTemplate], name| {
            CreationTemplate::for_push(templates, name).map(|template| template.prefix.clone())
        };
        for (name, prefix) in [
            ("jobs/a", Some("jobs")),
            ("jobs/a/b", Some("jobs")),
            ("jobs/old/a", None),
            ("jobs/old/new/a", Some("jobs/old/new")),
            ("jobs/older", Some("jobs")),
            ("jobs", None),
            ("jobs2/a", None),
        ] {
            assert_eq!(found(&templates, name).as_deref(), prefix, "{name}");
        }
        let root = [template("jobs/old", false), template("ROOT", true)];
        assert_eq!(found(&root, "jobs/a").as_deref(), Some("ROOT"));
        assert_eq!(found(&root, "jobs/old/a"), None);
        assert_eq!(found(&[], "jobs/a"), None);
    }
}
