//! Limitador's published library behind Envoy's rate-limit API, with counters in memory. Its server is not published as
//! a crate. The bench compares `ratelimitd serve` with it.
//!
//!     limitador-peer 127.0.0.1:8081 limits.yaml [error|info]
//!
//! As its server does: one thread (a runtime of tokio's current thread), limits of the same file, a namespace for each
//! domain, all descriptors of a request as the list `descriptors`, 1 hit where a request names none, answers without
//! statuses, errors as UNAVAILABLE, and room for more counters than the bench has keys.
//!
//! It leaves out, in favour of the peer: the HTTP API on the same thread, the watch of the file, Limitador's own gRPC API,
//! reflection, and the context of a trace in the metadata. Without a level it also leaves out the subscriber of tracing and
//! the Prometheus counters. `error`, the default of its server, has both; no span is made at that level. `info` makes a
//! span for each call and for each use of the storage, as its server does where traces are exported, without the export.

use std::{collections::HashMap, env, error::Error, fs::File, net::SocketAddr, str::FromStr};

use envoy_types::pb::envoy::service::ratelimit::v3::{
    rate_limit_response::Code,
    rate_limit_service_server::{RateLimitService, RateLimitServiceServer},
    RateLimitRequest, RateLimitResponse,
};
use limitador::{
    limit::{Context, Limit, Namespace},
    RateLimiter,
};
use tonic::{transport::Server, Request, Response, Status};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt, Layer};

/// Most counters in memory. The server derives some 10 million from the free memory; the bench has 1.2 million.
const COUNTERS: u64 = 10_000_000;

struct Service {
    limiter: RateLimiter,
    counted: bool,
}

#[tonic::async_trait]
impl RateLimitService for Service {
    #[tracing::instrument(skip_all)]
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let asked = request.into_inner();
        if asked.domain.is_empty() {
            return Ok(answer(Code::Unknown));
        }
        let namespace = Namespace::from(asked.domain.as_str());
        let hits = u64::from(asked.hits_addend.max(1));
        let entries = asked.descriptors.into_iter().map(|each| each.entries);
        let descriptors: Vec<HashMap<String, String>> =
            entries.map(|each| each.into_iter().map(|entry| (entry.key, entry.value)).collect()).collect();
        let mut context = Context::default();
        context.list_binding("descriptors".to_string(), descriptors);
        let checked = self.limiter.check_rate_limited_and_update(&namespace, &context, hits);
        let limited = checked.map_err(|_| Status::unavailable("Service unavailable"))?.limited;
        if self.counted {
            count(&namespace, limited, hits);
        }
        Ok(answer(if limited { Code::OverLimit } else { Code::Ok }))
    }
}

fn answer(code: Code) -> Response<RateLimitResponse> {
    Response::new(RateLimitResponse { overall_code: code.into(), ..Default::default() })
}

fn count(namespace: &Namespace, limited: bool, hits: u64) {
    let labels = vec![("limitador_namespace".to_string(), namespace.as_ref().to_string())];
    if limited {
        metrics::counter!("limited_calls", &labels).increment(1);
    } else {
        metrics::counter!("authorized_calls", &labels).increment(1);
        metrics::counter!("authorized_hits", &labels).increment(hits);
    }
}

fn observe(level: &str) -> Result<(), Box<dyn Error>> {
    let lines = tracing_subscriber::fmt::layer().with_filter(LevelFilter::from_str(level)?);
    tracing_subscriber::registry().with(lines).try_init()?;
    metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let (listen, file, level) = match words.as_slice() {
        [listen, file] => (listen, file, None),
        [listen, file, level] => (listen, file, Some(level)),
        _ => return Err("usage: limitador-peer HOST:PORT LIMITS_FILE [LEVEL]".into()),
    };
    if let Some(level) = level {
        observe(level)?;
    }
    let limits: Vec<Limit> = serde_yaml::from_reader(File::open(file)?)?;
    let limiter = RateLimiter::new(COUNTERS);
    limiter.configure_with(limits)?;
    let service = RateLimitServiceServer::new(Service { limiter, counted: level.is_some() });
    Server::builder().add_service(service).serve(listen.parse::<SocketAddr>()?).await?;
    Ok(())
}
