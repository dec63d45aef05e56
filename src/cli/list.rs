//! All objects of a kind, page by page.

use kube::api::ListParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde_json::Value;

/// Objects a page.
const PAGE: u32 = 500;

/// Hands over each object of a kind, or of those only that a label selector selects; whether the cluster has the kind.
///
/// # Errors
/// Where the kind cannot be listed, and what `take` says.
pub async fn each<K: Resource<DynamicType = ()>, E: From<kube::Error>>(
    client: &Client,
    labels: Option<&str>,
    mut take: impl FnMut(Value) -> Result<(), E>,
) -> Result<bool, E> {
    let request = Request::new(K::url_path(&(), None));
    let label_selector = labels.map(ToOwned::to_owned);
    let mut params = ListParams { limit: Some(PAGE), label_selector, ..ListParams::default() };
    loop {
        let asked = request.list(&params).map_err(kube::Error::BuildRequest)?;
        let mut page: Value = match client.request(asked).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            items.into_iter().try_for_each(&mut take)?;
        }
        let next = page.pointer("/metadata/continue").and_then(Value::as_str);
        params.continue_token = next.filter(|next| !next.is_empty()).map(ToOwned::to_owned);
        if params.continue_token.is_none() {
            return Ok(true);
        }
    }
}
