//! What is wrong with a repository of ECR: whether its tags can change that must not, or cannot that must,
//! and which published images its lifecycle policy would take away.
//!
//! The rules are those of ECR's user guide, [tag mutability] and [lifecycle policies].
//!
//! [tag mutability]: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html
//! [lifecycle policies]: https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html

use std::collections::BTreeMap;

use serde::Deserialize;

use super::arch::Arch;
use super::problem::Problem;
use super::reference::Tag;

/// How many exclusion filters ECR allows for a repository.
pub const MOST_FILTERS: usize = 5;
/// For how many days GitHub lets a run be repeated.
const REPEATABLE_DAYS: u32 = 30;

/// A repository as `aws ecr describe-repositories` tells of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Description {
    pub repository_name: String,
    pub image_tag_mutability: String,
    pub image_tag_mutability_exclusion_filters: Vec<Filter>,
    pub image_scanning_configuration: Scanning,
}

/// Tags to which a repository's setting does not apply.
#[derive(Clone, Debug, Deserialize)]
pub struct Filter {
    pub filter: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scanning {
    pub scan_on_push: bool,
}

/// A lifecycle policy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Policy {
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    rule_priority: u32,
    selection: Selection,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Action {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selection {
    /// `tagged`, `untagged` or `any`.
    tag_status: String,
    #[serde(default)]
    tag_prefix_list: Vec<String>,
    #[serde(default)]
    tag_pattern_list: Vec<String>,
    /// `imageCountMoreThan`, or an age such as `sinceImagePushed`.
    count_type: String,
    count_number: u32,
    /// `archive` for a rule about images that another one has archived.
    #[serde(default)]
    storage_class: Option<String>,
}

/// What a run publishes in one repository.
#[derive(Clone, Debug)]
pub struct Publishing<'a> {
    pub tag: &'a Tag,
    pub arches: &'a [Arch],
    pub moving_tags: &'a [Tag],
}

/// How grave something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warn,
    /// A run would fail, or what it has published would vanish.
    Fail,
}

/// Something wrong with a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub severity: Severity,
    pub what: String,
    pub rule: &'static str,
    pub help: String,
}

/// The tag mutability that a repository is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutability {
    pub setting: String,
    pub filters: Vec<String>,
}

impl Mutability {
    /// Tags that never change, but for those that move.
    pub fn wanted(moving_tags: &[Tag]) -> Mutability {
        let setting = if moving_tags.is_empty() { "IMMUTABLE" } else { "IMMUTABLE_WITH_EXCLUSION" };
        Mutability { setting: setting.to_owned(), filters: moving_tags.iter().map(Tag::to_string).collect() }
    }

    /// The filters as the AWS client reads them from its command line.
    pub fn shorthand(&self) -> Vec<String> {
        self.filters.iter().map(|filter| format!("filterType=WILDCARD,filter={filter}")).collect()
    }
}

impl Description {
    fn mutability(&self) -> Mutability {
        Mutability {
            setting: self.image_tag_mutability.clone(),
            filters: self.image_tag_mutability_exclusion_filters.iter().map(|f| f.filter.clone()).collect(),
        }
    }

    /// The setting of its tags in words.
    pub fn shown_tags(&self) -> String {
        let Mutability { setting, filters } = self.mutability();
        setting.to_lowercase().replace("_with_exclusion", &format!(" except {}", filters.join(" ")))
    }

    /// Whether a tag can be made to point at something else.
    fn can_change(&self, tag: &str) -> bool {
        let Mutability { setting, filters } = self.mutability();
        let excluded = setting.ends_with("_WITH_EXCLUSION") && filters.iter().any(|filter| matches(filter, tag));
        setting.starts_with("MUTABLE") != excluded
    }

    /// Whether tags change that must not, or cannot that must.
    pub fn check_tags(&self, publishing: &Publishing<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let stuck: Vec<&str> =
            publishing.moving_tags.iter().map(Tag::as_str).filter(|tag| !self.can_change(tag)).collect();
        if !stuck.is_empty() {
            findings.push(Finding {
                severity: Severity::Fail,
                what: format!("`{}` cannot move: the tags are {}", stuck.join("`, `"), self.shown_tags()),
                rule: "the target's moving tags are excluded from immutability",
                help: self.remedy(publishing),
            });
        }
        let loose: Vec<String> = publishing.fixed_tags().into_iter().filter(|tag| self.can_change(tag)).collect();
        if !loose.is_empty() {
            findings.push(Finding {
                severity: Severity::Warn,
                what: format!("anybody who may push can change a published tag: the tags are {}", self.shown_tags()),
                rule: "a published tag never changes",
                help: self.remedy(publishing),
            });
        }
        findings
    }

    fn remedy(&self, publishing: &Publishing<'_>) -> String {
        let wanted = Mutability::wanted(publishing.moving_tags);
        let filters = wanted.shorthand().join(" ");
        let flag = if filters.is_empty() { "" } else { " --image-tag-mutability-exclusion-filters " };
        format!(
            "aws ecr put-image-tag-mutability --repository-name <name> --image-tag-mutability {}{flag}{filters}",
            wanted.setting
        )
    }
}

/// A kind of image that a run leaves in a repository.
struct Kind {
    /// The tags that the image has at once; the last is the one to name it by.
    tags: Vec<String>,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// One architecture's image, needed until the merge, and by a run that is repeated.
    Part,
    /// An index that only its own tag points at.
    Release,
    /// An index that a moving tag points at: what is in use.
    Live,
}

impl Publishing<'_> {
    /// The tags that never change, one of each kind.
    fn fixed_tags(&self) -> Vec<String> {
        let arches = self.arches.iter().map(|&arch| self.tag.for_arch(arch).to_string());
        arches.chain([self.tag.to_string(), key_tag()]).collect()
    }

    fn kinds(&self) -> Vec<Kind> {
        let part = |arch: &Arch| Kind { tags: vec![self.tag.for_arch(*arch).to_string()], role: Role::Part };
        let mut kinds: Vec<Kind> = self.arches.iter().map(part).collect();
        let tags = vec![key_tag(), self.tag.to_string()];
        kinds.push(Kind { tags: tags.clone(), role: Role::Release });
        if !self.moving_tags.is_empty() {
            let moving: Vec<String> = self.moving_tags.iter().map(Tag::to_string).collect();
            kinds.push(Kind { tags: [tags, moving].concat(), role: Role::Live });
        }
        kinds
    }

    /// How many manifests a run pushes for which a rule counts. With its attestations, one architecture's image is
    /// an index of two manifests that have no tags of their own; the merge adds one index.
    fn counted(&self, rule: &Rule) -> u32 {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        if rule.selection.tag_status == "any" {
            return count(3 * self.arches.len() + 1);
        }
        let selected = self.kinds().into_iter().filter(|kind| kind.role != Role::Live && rule.selects(&kind.tags));
        count(selected.count())
    }
}

/// A tag by which later runs find an image, of the right form.
fn key_tag() -> String {
    format!("key-{}", "0".repeat(20))
}

impl Policy {
    /// Reads a policy's JSON; `at` says where it stands.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(at: &str, text: &str) -> Result<Policy, Problem> {
        serde_json::from_str(text).map_err(|error| Problem::new(at, format!("not a lifecycle policy: {error}")))
    }

    /// Which of the published images the policy takes away.
    ///
    /// Of the rules that select an image by its tags, the one with the lowest number decides alone. What has no tag
    /// needs no look: ECR expires no image of an index before the index itself.
    pub fn check(&self, publishing: &Publishing<'_>) -> Vec<Finding> {
        let mut taken: BTreeMap<(Severity, u32, &str), (&Rule, Vec<String>)> = BTreeMap::new();
        for kind in publishing.kinds() {
            let rules = self.rules.iter().filter(|rule| rule.selects(&kind.tags));
            let Some(rule) = rules.min_by_key(|rule| rule.rule_priority) else { continue };
            let Some((severity, reason)) = rule.verdict(kind.role, publishing) else { continue };
            let (_, tags) = taken.entry((severity, rule.rule_priority, reason)).or_insert((rule, Vec::new()));
            tags.extend(kind.tags.last().map(|tag| format!("`{tag}`")));
        }
        let finding = |((severity, _, reason), (rule, tags)): ((Severity, u32, _), (&Rule, Vec<String>))| Finding {
            severity,
            what: rule.takes(&tags.join(", "), publishing),
            rule: reason,
            help: "narrow the rule's tags, as .github/ecr-lifecycle.json does, or raise its number".to_owned(),
        };
        taken.into_iter().map(finding).collect()
    }
}

impl Rule {
    /// Whether the rule selects an image with these tags: each of its patterns has to match one of them.
    fn selects(&self, tags: &[String]) -> bool {
        let Selection { tag_status, tag_prefix_list, tag_pattern_list, storage_class, .. } = &self.selection;
        if storage_class.as_deref() == Some("archive") {
            return false;
        }
        let has = |matching: &dyn Fn(&str) -> bool| tags.iter().any(|tag| matching(tag));
        match tag_status.as_str() {
            "any" => true,
            "tagged" => {
                tag_prefix_list.iter().all(|prefix| has(&|tag| tag.starts_with(prefix.as_str())))
                    && tag_pattern_list.iter().all(|pattern| has(&|tag| matches(pattern, tag)))
            }
            _ => false,
        }
    }

    /// How grave it is that the rule takes an image of this role, and why; `None` if it is as it should be.
    fn verdict(&self, role: Role, publishing: &Publishing<'_>) -> Option<(Severity, &'static str)> {
        let Selection { count_number, .. } = self.selection;
        Some(match (role, self.is_by_count()) {
            (_, true) if count_number < publishing.counted(self) => {
                (Severity::Fail, "what one run pushes stays until it is published")
            }
            (Role::Part, false) if count_number >= REPEATABLE_DAYS => return None,
            (Role::Part, false) => {
                (Severity::Warn, "a run can be repeated for 30 days, and then needs the images it has built")
            }
            (Role::Live, false) => {
                (Severity::Fail, "an unchanged job keeps its image, which keeps its first day: it would expire in use")
            }
            (_, true) => (Severity::Warn, "a count makes room for the next runs, whatever is still in use"),
            (Role::Release, false) => (Severity::Warn, "an unchanged job keeps its image, which keeps its first day"),
        })
    }

    fn is_by_count(&self) -> bool {
        self.selection.count_type == "imageCountMoreThan"
    }

    /// What the rule does to images with tags like these, in words.
    fn takes(&self, tags: &str, publishing: &Publishing<'_>) -> String {
        let Selection { count_type, count_number, .. } = &self.selection;
        let verb = if self.action.kind == "expire" { "expires" } else { "archives" };
        let when = if self.is_by_count() {
            format!("when there are more than {count_number}, and one run makes {}", publishing.counted(self))
        } else {
            format!("{count_number} days after {}", since(count_type))
        };
        format!("lifecycle rule {} {verb} images tagged like {tags} {when}", self.rule_priority)
    }
}

fn since(count_type: &str) -> &str {
    match count_type {
        "sinceImagePushed" => "the push",
        "sinceImagePulled" => "the last pull",
        other => other,
    }
}

/// What of a repository that is there differs from what `ecr ensure` would make, besides its tags.
pub fn differences(description: &Description, policy: Option<&Policy>, wanted: Option<&Policy>) -> Vec<&'static str> {
    let mut differences = Vec::new();
    if !description.image_scanning_configuration.scan_on_push {
        differences.push("not scanned on push");
    }
    match (policy, wanted) {
        (None, Some(_)) => differences.push("no lifecycle policy"),
        (Some(policy), Some(wanted)) if policy != wanted => differences.push("another lifecycle policy"),
        _ => {}
    }
    differences
}

/// Whether a tag matches a pattern in which `*` stands for any characters, also none.
fn matches(pattern: &str, tag: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == tag };
    let Some(tag) = tag.strip_prefix(first) else { return false };
    (0..=tag.len()).any(|i| tag.is_char_boundary(i) && matches(rest, &tag[i..]))
}

#[cfg(test)]
#[path = "ecr_tests.rs"]
mod tests;
