//! UpdateFeatures 0-2: raises or lowers the level of a feature. Each feature has one level here, so
//! only that one can be set; anything else is refused, and then nothing of the request holds.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use kafka_protocol::messages::update_features_response::{
    UpdatableFeatureResult, UpdateFeaturesResponse,
};

use crate::api::api_versions::FEATURES;
use crate::api::{NONE, code, doubled, text};

/// Up to here each feature has a result of its own; later only the first error is told.
const RESULTS_UNTIL: i16 = 1;

/// Answers the request.
pub fn answer(request: &UpdateFeaturesRequest, version: i16) -> UpdateFeaturesResponse {
    let updates = &request.feature_updates;
    let doubled = doubled(updates.iter().map(|update| update.feature.as_str()));
    let checked = updates.iter().map(|update| {
        if doubled.contains(update.feature.as_str()) {
            return Err((ResponseError::InvalidRequest, "A feature is named twice.".to_owned()));
        }
        check(update)
    });
    let checked: Vec<_> = checked.collect();
    let mut response = UpdateFeaturesResponse::default();
    if let Some(Err((error, why))) = checked.iter().find(|it| it.is_err()) {
        response.error_code = code(*error);
        response.error_message = Some(text(why.as_str()));
    }
    if version <= RESULTS_UNTIL && response.error_code == NONE {
        let results = updates
            .iter()
            .map(|update| UpdatableFeatureResult::default().with_feature(update.feature.clone()));
        response.results = results.collect();
    }
    response
}

fn check(update: &FeatureUpdateKey) -> Result<(), (ResponseError, String)> {
    let (feature, level) = (update.feature.as_str(), update.max_version_level);
    let served = FEATURES.iter().find(|(name, _)| *name == feature);
    match served {
        Some((_, served)) if *served == level => Ok(()),
        Some((_, served)) => Err((
            ResponseError::InvalidUpdateVersion,
            format!("The feature {feature} is served at level {served} only, not at {level}."),
        )),
        None => Err((
            ResponseError::InvalidUpdateVersion,
            format!("The feature {feature} is not known."),
        )),
    }
}
