//! Answers as one page with charts. It needs nothing else: no server, no network.

const STYLE: &str = include_str!("style.css");
/// Elements, charts and tables, for the scripts of all pages.
const COMMON: &str = include_str!("common.js");

/// A page made from its template and its data, which is JSON.
pub fn page(template: &str, json: &str) -> String {
    let page = template.replace("/*%STYLE%*/\n", STYLE).replace("/*%COMMON%*/\n", COMMON);
    page.replace("\"%DATA%\"", &embedded(json))
}

/// JSON that cannot end the script that it stands in.
fn embedded(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_the_script() {
        assert_eq!(embedded("[\"</script><b>\"]"), "[\"\\u003c/script>\\u003cb>\"]");
    }

    #[test]
    fn pages_need_nothing_from_outside() {
        for template in [include_str!("../simulate/page.html"), include_str!("../report/page.html")] {
            for part in ["\"%DATA%\"", "/*%STYLE%*/\n", "/*%COMMON%*/\n"] {
                assert!(template.contains(part), "{part}");
            }
            let page = page(template, "{}");
            assert!(!page.contains('%') || !page.contains("%DATA%") && !page.contains("/*%"));
            for outside in ["http://", "https://", "src=", "@import", "url("] {
                assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
            }
        }
    }
}
