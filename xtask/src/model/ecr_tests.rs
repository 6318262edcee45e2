use expect_test::expect;
use serde_json::{Value, json};

use super::*;

fn tags(texts: &[&str]) -> Vec<Tag> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn repository(setting: &str, exclusions: &[&str]) -> EcrRepository {
    EcrRepository {
        tag_mutability: setting.to_owned(),
        exclusions: exclusions.iter().map(|pattern| (*pattern).to_owned()).collect(),
        scan_on_push: true,
        most_tags: 0,
        policy: None,
    }
}

fn rules(rules: &Value) -> Vec<LifecycleRule> {
    lifecycle_rules("x", &json!({ "rules": rules }).to_string()).unwrap()
}

/// What a run of these moving tags publishes, which keeps layers in the registry or not.
fn with_publishing<R>(moving: &[&str], caches: bool, work: impl FnOnce(&Publishing<'_>) -> R) -> R {
    let (tag, moving) = ("0123456".parse().unwrap(), tags(moving));
    work(&Publishing { tag: &tag, arches: &Arch::ALL, moving_tags: &moving, caches })
}

fn findings(repository: Option<&EcrRepository>, moving: &[&str]) -> String {
    shown(&with_publishing(moving, false, |publishing| check_repository(repository, None, publishing)))
}

fn shown(findings: &[EcrFinding]) -> String {
    let severity = |finding: &EcrFinding| if finding.is_fatal { "Fail" } else { "Warn" };
    findings.iter().map(|f| format!("{}: {} ({})\n", severity(f), f.what, f.rule)).collect()
}

fn of_tags(setting: &str, exclusions: &[&str], moving: &[&str]) -> String {
    findings(Some(&repository(setting, exclusions)), moving)
}

/// The findings about a policy of one rule.
fn of_rule(selection: Value, moving: &[&str]) -> String {
    of_policy(json!([{ "rulePriority": 1, "selection": selection, "action": { "type": "expire" } }]), moving)
}

fn of_policy(policy: Value, moving: &[&str]) -> String {
    let tags =
        with_publishing(moving, false, |publishing| EcrRepository::wanted(publishing, Some(rules(&policy)))).unwrap();
    findings(Some(&tags), moving)
}

#[test]
fn a_repository_has_to_exist() {
    assert_eq!(
        findings(None, &["latest"]),
        "Fail: not there (a repository is there before the first push, or a creation template makes it then)\n"
    );
}

#[test]
fn tags_are_immutable_except_those_that_move() {
    assert_eq!(of_tags("IMMUTABLE_WITH_EXCLUSION", &["key-*"], &[]), "");
    assert_eq!(of_tags("IMMUTABLE_WITH_EXCLUSION", &["latest", "key-*"], &["latest"]), "");
    assert_eq!(of_tags("IMMUTABLE_WITH_EXCLUSION", &["stag*", "l*t", "k*"], &["latest", "staging"]), "");
    assert_eq!(of_tags("MUTABLE_WITH_EXCLUSION", &["0*"], &["latest"]), "");
}

#[test]
fn a_moving_tag_that_cannot_move_fails_the_run() {
    expect![[r#"
        Fail: `latest` cannot move: the tags are immutable (the target's moving tags are excluded from immutability)
        Warn: a forced rebuild could not replace the image behind `key-…`: the tags are immutable (`key-*` is excluded from immutability)
    "#]]
    .assert_eq(&of_tags("IMMUTABLE", &[], &["latest"]));
    expect![[r#"
        Fail: `latest`, `staging` cannot move: the tags are immutable except key-* (the target's moving tags are excluded from immutability)
    "#]]
    .assert_eq(&of_tags("IMMUTABLE_WITH_EXCLUSION", &["key-*"], &["latest", "staging"]));
    expect![[r#"
        Fail: `latest` cannot move: the tags are mutable except latest (the target's moving tags are excluded from immutability)
        Warn: anybody who may push can change a published tag: the tags are mutable except latest (a published tag never changes)
    "#]]
    .assert_eq(&of_tags("MUTABLE_WITH_EXCLUSION", &["latest"], &["latest"]));
}

#[test]
fn a_key_that_cannot_move_is_a_warning() {
    expect![[r#"
        Warn: a forced rebuild could not replace the image behind `key-…`: the tags are immutable except latest (`key-*` is excluded from immutability)
    "#]]
    .assert_eq(&of_tags("IMMUTABLE_WITH_EXCLUSION", &["latest"], &["latest"]));
    expect![[r#"
        Warn: a forced rebuild could not replace the image behind `key-…`: the tags are mutable except 0* key-* (`key-*` is excluded from immutability)
    "#]]
    .assert_eq(&of_tags("MUTABLE_WITH_EXCLUSION", &["0*", "key-*"], &["latest"]));
}

#[test]
fn a_published_tag_that_can_change_is_a_warning() {
    expect![[r#"
        Warn: anybody who may push can change a published tag: the tags are mutable (a published tag never changes)
    "#]]
    .assert_eq(&of_tags("MUTABLE", &[], &["latest"]));
    for filter in ["*", "*-arm64", "0123*"] {
        let found = of_tags("IMMUTABLE_WITH_EXCLUSION", &["key-*", filter], &[]);
        assert!(found.starts_with("Warn: anybody") && found.lines().count() == 1, "{filter}: {found}");
    }
}

#[test]
fn a_cache_that_cannot_be_replaced_is_a_warning() {
    let found = |exclusions: &[&str]| {
        let found = repository("IMMUTABLE_WITH_EXCLUSION", exclusions);
        shown(&with_publishing(&[], true, |publishing| check_repository(Some(&found), None, publishing)))
    };
    expect![[r#"
        Warn: no later build could replace the cached layers: the tags are immutable except key-* (`cache-*` is excluded from immutability)
    "#]]
    .assert_eq(&found(&["key-*"]));
    assert_eq!(found(&["key-*", "cache-*"]), "");
    assert!(found(&["key-*", "cache-amd64"]).starts_with("Warn: no later build"));
    assert_eq!(of_tags("IMMUTABLE_WITH_EXCLUSION", &["key-*"], &[]), "", "nothing is cached");
}

#[test]
fn images_are_scanned_and_have_room_for_tags() {
    let fit = repository("IMMUTABLE_WITH_EXCLUSION", &["key-*"]);
    let found =
        |scan_on_push, most_tags| findings(Some(&EcrRepository { scan_on_push, most_tags, ..fit.clone() }), &[]);
    assert_eq!(found(true, 899), "");
    expect![[r#"
        Warn: not scanned on push (images are scanned for known weaknesses when they are pushed, by a setting of the registry or of each repository)
        Warn: an image has 900 tags (ECR lets an image have 1,000 tags, and refuses the next)
    "#]]
    .assert_eq(&found(false, 900));
}

#[test]
fn a_template_is_judged_by_what_it_makes() {
    let found = |exclusions: &[&str]| {
        let made = repository("IMMUTABLE_WITH_EXCLUSION", exclusions);
        let template = CreationTemplate { prefix: "jobs".to_owned(), on_push: true, repository: made };
        with_publishing(&["latest"], false, |publishing| check_repository(None, Some(&template), publishing))
    };
    assert_eq!(found(&["latest", "key-*"]), []);
    assert_eq!(
        found(&["key-*"])[0].help,
        "aws ecr update-repository-creation-template --prefix jobs --image-tag-mutability IMMUTABLE_WITH_EXCLUSION \
         --image-tag-mutability-exclusion-filters filterType=WILDCARD,filter=latest 'filterType=WILDCARD,filter=key-*'"
    );
}

#[test]
fn the_remedy_can_be_pasted() {
    let help = |moving: &[&str]| {
        let mutable = repository("MUTABLE", &[]);
        with_publishing(moving, false, |publishing| check_repository(Some(&mutable), None, publishing)[0].help.clone())
    };
    assert_eq!(
        help(&[]),
        "aws ecr put-image-tag-mutability --repository-name <name> --image-tag-mutability IMMUTABLE_WITH_EXCLUSION \
         --image-tag-mutability-exclusion-filters 'filterType=WILDCARD,filter=key-*'"
    );
    assert_eq!(
        help(&["latest", "staging"]),
        "aws ecr put-image-tag-mutability --repository-name <name> --image-tag-mutability IMMUTABLE_WITH_EXCLUSION \
         --image-tag-mutability-exclusion-filters filterType=WILDCARD,filter=latest filterType=WILDCARD,filter=staging \
         'filterType=WILDCARD,filter=key-*'"
    );
    assert_eq!(help(&["a", "b", "c", "d", "e"]), "give this target fewer moving tags");
}

#[test]
fn a_repository_has_room_for_four_moving_tags() {
    let wanted =
        |moving: &[&str], caches| with_publishing(moving, caches, |publishing| EcrRepository::wanted(publishing, None));
    assert_eq!(wanted(&["a", "b", "c", "d"], false).unwrap().shown_tags(), "immutable except a b c d key-*");
    assert_eq!(wanted(&["a", "b", "c"], true).unwrap().shown_tags(), "immutable except a b c key-* cache-*");
    assert!(
        wanted(&["a", "b", "c", "d"], true).unwrap_err().to_string().contains("`key-*`, `cache-*` are two of them")
    );
    assert_eq!(
        wanted(&["a", "b", "c", "d", "e"], false).unwrap_err().to_string(),
        "moving-tags: there are 5\n  rule: ECR lets at most 5 patterns of tags change in an immutable repository, and \
         `key-*` is one of them\n  help: give this target fewer moving tags"
    );
}

#[test]
fn the_policy_of_this_repository_takes_nothing_that_is_needed() {
    let policy: Value = serde_json::from_str(include_str!("../../../.github/ecr-lifecycle.json")).unwrap();
    assert_eq!(of_policy(policy["rules"].clone(), &["latest"]), "");
    assert_eq!(policy["rules"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_has_no_tag_is_safe_in_its_index() {
    for count in ["imageCountMoreThan", "sinceImagePushed"] {
        assert_eq!(of_rule(json!({ "tagStatus": "untagged", "countType": count, "countNumber": 1 }), &["latest"]), "");
    }
}

#[test]
fn a_rule_by_age_is_judged_by_what_it_takes() {
    let rule = |patterns: &[&str], days: u32| json!({ "tagStatus": "tagged", "tagPatternList": patterns, "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days });
    assert_eq!(of_rule(rule(&["*-amd64"], 30), &["latest"]), "");
    assert_eq!(of_rule(rule(&["pr-*"], 1), &["latest"]), "");
    // Both patterns have to match, and no tag of an image of one architecture starts like a key.
    assert_eq!(of_rule(rule(&["*-amd64", "key-*"], 1), &["latest"]), "");
    expect![[r#"
        Warn: lifecycle rule 1 expires images tagged like `0123456-amd64` 29 days after the push (a run can be repeated for 30 days, and then needs the images it has built)
    "#]]
    .assert_eq(&of_rule(rule(&["*-amd64"], 29), &["latest"]));
    expect![[r#"
        Warn: lifecycle rule 1 expires images tagged like `0123456` 90 days after the push (an unchanged job keeps its image, which keeps its first day)
        Fail: lifecycle rule 1 expires images tagged like `latest` 90 days after the push (an unchanged job keeps its image, which keeps its first day: it would expire in use)
    "#]]
    .assert_eq(&of_rule(rule(&["*"], 90), &["latest"]));
    expect![[r#"
        Fail: lifecycle rule 1 expires images tagged like `latest` 90 days after the push (an unchanged job keeps its image, which keeps its first day: it would expire in use)
    "#]]
    .assert_eq(&of_rule(rule(&["latest"], 90), &["latest"]));
}

#[test]
fn a_rule_by_count_leaves_room_for_a_run() {
    let any = |count: u32| json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count });
    expect![[r#"
        Fail: lifecycle rule 1 expires images tagged like `0123456-amd64`, `0123456-arm64`, `0123456` when there are more than 6, and one run makes 7 (what one run pushes stays until it is published)
    "#]]
    .assert_eq(&of_rule(any(6), &[]));
    assert!(of_rule(any(7), &[]).lines().all(|line| line.starts_with("Warn: ")), "{}", of_rule(any(7), &[]));
    let prefix =
        json!({ "tagStatus": "tagged", "tagPrefixList": ["0"], "countType": "imageCountMoreThan", "countNumber": 2 });
    assert!(of_rule(prefix, &[]).contains("more than 2, and one run makes 3"));
}

#[test]
fn the_first_rule_that_selects_an_image_decides() {
    let rule = |priority: u32, pattern: &str, days: u32| {
        json!({
            "rulePriority": priority,
            "selection": { "tagStatus": "tagged", "tagPatternList": [pattern], "countType": "sinceImagePushed", "countNumber": days },
            "action": { "type": "expire" },
        })
    };
    let shielded = json!([rule(2, "*", 1), rule(1, "*6*", 3650)]);
    let found = of_policy(shielded, &[]);
    assert!(found.contains("3650 days") && !found.contains(" 1 days"), "{found}");
    let archived = json!([{
        "rulePriority": 1,
        "selection": { "tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countNumber": 90 },
        "action": { "type": "expire" },
    }]);
    assert_eq!(of_policy(archived, &["latest"]), "");
}

#[test]
fn a_star_stands_for_anything() {
    for (pattern, tag, expected) in [
        ("latest", "latest", true),
        ("latest", "latest2", false),
        ("*", "", true),
        ("*-amd64", "x-amd64", true),
        ("*-amd64", "x-amd64-y", false),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abde", false),
    ] {
        assert_eq!(matches(pattern, tag), expected, "{pattern} {tag}");
    }
}
