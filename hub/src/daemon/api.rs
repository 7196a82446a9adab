//! How our HTTP APIs say no: one JSON body, everywhere.
//!
//! ```json
//! { "error": { "rule": "stake-too-small", "message": "staking output holds 5 sat, needs 1000", "retry": false } }
//! ```

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A refusal on its way out: an HTTP status and its body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", refusal.rule, refusal.message)]
pub struct ApiError {
    status: StatusCode,
    refusal: Refusal,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiErrorBody {
    /// What was refused.
    pub error: Refusal,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The rule that the request breaks, in kebab-case. Programs branch on it, so it never changes.
    pub rule: String,
    /// What was found and what was wanted, for people.
    pub message: String,
    /// Whether the same request can succeed later.
    pub retry: bool,
}

impl ApiError {
    /// A refusal that stays one: the same request will be refused again.
    pub fn new(status: StatusCode, rule: &'static str, message: impl ToString) -> Self {
        Self {
            status,
            refusal: Refusal { rule: rule.to_owned(), message: message.to_string(), retry: false },
        }
    }

    /// The same refusal, if the same request can succeed later.
    pub fn can_be_retried(mut self) -> Self {
        self.refusal.retry = true;
        self
    }

    /// Says in a refusal of an address what the door's addresses look like.
    fn at(mut self, door: Option<&MatchedPath>) -> Self {
        let text = ["`u64`", "`usize`"]
            .iter()
            .fold(self.refusal.message, |text, kind| text.replace(&format!("a {kind}"), "a whole number"));
        self.refusal.message = match door.map(MatchedPath::as_str).filter(|door| door.contains('{')) {
            Some(door) => format!("{text}; wanted is {door}, with a value in place of each name in braces"),
            None => text,
        };
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the body says.
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    fn unreadable(status: StatusCode, message: String) -> Self {
        let rule = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "body-too-large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "content-type",
            _ => "malformed-request",
        };
        Self::new(status, rule, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(ApiErrorBody { error: self.refusal })).into_response()
    }
}

/// An axum extractor whose refusal is an [`ApiError`]: `Api<Json<T>>`, `Api<Bytes>`, `Api<Path<T>>`, `Api<Query<T>>`.
#[derive(Debug, Clone, Copy)]
pub struct Api<E>(pub E);

impl<S, E> FromRequest<S> for Api<E>
where
    S: Send + Sync,
    E: FromRequest<S>,
    ApiError: From<E::Rejection>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Ok(Self(E::from_request(request, state).await?))
    }
}

impl<S, E> FromRequestParts<S> for Api<E>
where
    S: Send + Sync,
    E: FromRequestParts<S>,
    ApiError: From<E::Rejection>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let door = parts.extensions.get::<MatchedPath>().cloned();
        let refused = |why: E::Rejection| ApiError::from(why).at(door.as_ref());
        E::from_request_parts(parts, state).await.map(Self).map_err(refused)
    }
}

/// axum's own rejections already know their status and text.
macro_rules! unreadable {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                Self::unreadable(rejection.status(), rejection.body_text())
            }
        }
    )*};
}

unreadable!(BytesRejection, JsonRejection, PathRejection, QueryRejection);

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::extract::{Path, Query};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ask {
        #[serde(rename = "height")]
        _height: u32,
    }

    fn request(uri: &str, content_type: &str, body: &str) -> Request {
        Request::builder()
            .uri(uri)
            .header("content-type", content_type)
            .body(Body::from(body.to_owned()))
            .unwrap()
    }

    async fn refusal_of<E>(request: Request) -> (u16, String)
    where
        E: FromRequest<()>,
        ApiError: From<E::Rejection>,
    {
        let error = Api::<E>::from_request(request, &()).await.err().expect("refused");
        assert!(!error.refusal().retry && !error.refusal().message.is_empty());
        (error.status().as_u16(), error.refusal().rule.clone())
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_read_is_refused_by_rule() {
        let json = "application/json";
        for (content_type, body, status, rule) in [
            (json, "{", 400, "malformed-request"),
            (json, "", 400, "malformed-request"),
            (json, r#"{"height":-1}"#, 422, "malformed-request"),
            (json, r#"{"height":1,"more":2}"#, 422, "malformed-request"),
            ("text/plain", r#"{"height":1}"#, 415, "content-type"),
        ] {
            let refused = refusal_of::<Json<Ask>>(request("/", content_type, body)).await;
            assert_eq!(refused, (status, rule.to_owned()), "{body}");
        }
        let long = "a".repeat(3_000_000);
        assert_eq!(refusal_of::<Bytes>(request("/", json, &long)).await, (413, "body-too-large".into()));
        assert!(Api::<Json<Ask>>::from_request(request("/", json, r#"{"height":1}"#), &()).await.is_ok());
    }

    #[tokio::test]
    async fn a_query_and_a_path_that_cannot_be_read_are_refused_by_rule() {
        let (mut parts, _) = request("/?height=x", "", "").into_parts();
        let refused = Api::<Query<Ask>>::from_request_parts(&mut parts, &()).await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.refusal().rule.as_str()), (400, "malformed-request"));
        // Outside a router there is no path to read: a fault of the server, and still our form of answer.
        let refused = Api::<Path<u32>>::from_request_parts(&mut parts, &()).await.unwrap_err();
        assert_eq!(refused.status().as_u16(), 500);
    }

    #[tokio::test]
    async fn the_body_has_the_documented_form() {
        let error =
            ApiError::new(StatusCode::CONFLICT, "not-deep", "2 confirmations, needs 6").can_be_retried();
        assert_eq!(error.to_string(), "not-deep: 2 confirmations, needs 6");
        let response = error.clone().into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        let expected = r#"{"error":{"rule":"not-deep","message":"2 confirmations, needs 6","retry":true}}"#;
        assert_eq!(body, expected);
        assert_eq!(serde_json::from_slice::<ApiErrorBody>(&body).unwrap().error, *error.refusal());
    }
}
