//! The custom resources: their schemas, their rules, quantities and templates.

mod quantity;
mod schema;
mod template;
mod transitions;
