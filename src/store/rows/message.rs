//! (placeholder until the MIME work lands)
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct MessageRow;
