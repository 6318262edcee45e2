use super::*;

fn digest(of: char) -> Digest {
    format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
}

/// An image with these layers, one for each character; `0` is the empty one.
fn image(of: char, arch: Arch, layers: &str) -> Manifest {
    let layer = |of: char| if of == '0' { EMPTY_LAYER.parse().unwrap() } else { digest(of) };
    Manifest { diff_ids: layers.chars().map(layer).collect(), ..Manifest::for_test(of, arch.platform(), &[]) }
}

/// A job whose images begin with `busybox`, which is `digest('b')` in this run.
fn expected() -> Expected {
    let begins_with = BTreeMap::from(Arch::ALL.map(|arch| (arch, ["busybox".to_owned()].into())));
    Expected { begins_with, bases: BTreeMap::from([("busybox".to_owned(), digest('b'))]), ..Expected::for_test() }
}

/// What is wrong with an arm64 image of these layers, where the base has these.
fn complaint(image: &Manifest, amd64: &str, arm64: &str) -> Option<String> {
    let base = Index::for_test(vec![self::image('1', Arch::Amd64, amd64), self::image('2', Arch::Arm64, arm64)]);
    let known = BTreeMap::from([(digest('b'), Arc::new(base))]);
    let problems = expected().foreign_layers(Some(Arch::Arm64), &Index::for_test(vec![image.clone()]), &known);
    problems.first().map(|problem| problem.what.split(") ").nth(1).unwrap().to_owned())
}

#[test]
fn an_image_begins_with_its_base_for_its_own_platform() {
    let arm64 = |layers: &str| image('f', Arch::Arm64, layers);
    for (layers, amd64, arm64_base) in [
        ("cde", "a", "cd"),
        ("cd", "a", "cd"),
        // A base may be the same for all, or begin with what is.
        ("ab", "a", "a"),
        ("abc", "a", "ab"),
        // Builders leave empty layers out, or keep them.
        ("cd", "a", "0c0"),
        ("0c0d", "a", "c"),
        ("d", "a", ""),
    ] {
        assert_eq!(complaint(&arm64(layers), amd64, arm64_base), None, "{layers} {amd64} {arm64_base}");
    }
    let other = Some("holds the layers of busybox for amd64".to_owned());
    assert_eq!(complaint(&arm64("ade"), "a", "c"), other);
    assert_eq!(complaint(&arm64("a0b"), "ab", "c"), other);
    let neither = Some("does not begin with the layers of busybox for arm64".to_owned());
    assert_eq!(complaint(&arm64("e"), "a", "c"), neither);
    assert_eq!(complaint(&arm64("c"), "a", "cd"), neither);
    assert_eq!(complaint(&arm64(""), "a", "c"), neither);
}

#[test]
fn the_base_is_the_one_that_the_image_names() {
    let labelled = |digest: Digest| {
        let label = format!("alpine@{},busybox@{digest}", self::digest('a'));
        Manifest { labels: BTreeMap::from([(BASES_LABEL.to_owned(), label)]), ..image('f', Arch::Arm64, "e") }
    };
    assert_eq!(expected().bases_of(&labelled(digest('c'))), [("busybox", digest('c'))]);
    assert_eq!(expected().bases_of(&image('f', Arch::Arm64, "e")), [("busybox", digest('b'))]);
    // What is not known is not compared: the base, or one of those that it may be.
    assert_eq!(complaint(&labelled(digest('c')), "a", "c"), None);
    assert!(complaint(&labelled(digest('b')), "a", "c").is_some());
    let scratch = Expected { begins_with: BTreeMap::new(), ..expected() };
    assert_eq!(scratch.bases_of(&labelled(digest('c'))), []);
}
