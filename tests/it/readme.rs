//! The README is true: it lists every setting with its default, as the program reads them.

use dingtalk_trigger::config::settings::SETTINGS;

const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let (_, rest) = README.split_once("<!-- settings:").expect("the README has a settings table");
    let (table, _) = rest.split_once("<!-- end of settings -->").expect("the table has an end");
    let listed: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<_> = SETTINGS
        .iter()
        .map(|setting| {
            let default = match setting.default {
                "" => "–".to_owned(),
                default => format!("`{default}`"),
            };
            format!("| `{}` | {default} | {} |", setting.name, setting.about)
        })
        .collect();
    assert_eq!(listed, expected, "copy the right side into the README:\n{}\n", expected.join("\n"));
}
