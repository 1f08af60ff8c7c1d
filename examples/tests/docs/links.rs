//! Links inside the repository lead to a file that is there, and to a heading of it.

use crate::page::Page;

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in Page::all() {
        for target in page.prose().flat_map(targets) {
            if let Err(why) = check(&page, target) {
                broken.push(format!("{}: {target}: {why}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What the links of a line point at.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let behind = line.split("](").skip(1);
    behind.filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

fn check(page: &Page, target: &str) -> Result<(), &'static str> {
    if target.contains("://") {
        // What others publish is not this tree's to hold.
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => page.path.clone(),
        path => page.path.with_file_name(path),
    };
    if !path.exists() {
        return Err("no such file");
    }
    if anchor.is_empty() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).map_err(|_| "no page")?;
    let anchors = Page { path, text }.anchors();
    match anchors.iter().any(|it| it == anchor) {
        true => Ok(()),
        false => Err("no such heading"),
    }
}

#[test]
fn what_is_no_link_of_ours_is_left_alone_and_what_is_broken_is_found() {
    let page = Page::at("README.md");
    let found: Vec<_> = targets("see [a](docs/x.md), [b](#c) and `f(x)`").collect();
    assert_eq!(found, ["docs/x.md", "#c"]);
    assert_eq!(check(&page, "https://example.org/"), Ok(()));
    assert_eq!(check(&page, "LICENSE"), Ok(()));
    assert_eq!(check(&page, "docs/none.md"), Err("no such file"));
    assert_eq!(
        check(&page, "docs/decisions.md#none"),
        Err("no such heading")
    );
}
