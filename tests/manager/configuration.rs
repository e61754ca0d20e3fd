//! What a layer is made from: the driver, the lifetime, the seed.

use std::time::Duration;

use web_session::{
    AutoCreate, BuildError, ConfigError, ConnectError, CookieConfig, MemoryDriver, OsRandom,
    RandomError, RandomSource, SessionError, SessionId, SessionLayer, connect,
};

use crate::rig::{DAY, Fixed, MILLISECOND, given_id, request, rig, rig_with};
use crate::support::memory;

// M1
#[tokio::test]
async fn a_scheme_that_no_driver_has_is_an_error_that_names_it() {
    let error = connect("mongodb://ada:secret@localhost/sessions").await.unwrap_err();
    assert_eq!(error, ConnectError::UnknownScheme("mongodb".to_owned()));
    let text = error.to_string();
    assert!(text.contains("`mongodb:`") && !text.contains("secret"), "{text}");
}

// M1
#[tokio::test]
async fn a_scheme_whose_feature_is_off_is_an_error_that_names_the_feature() {
    let schemes = [
        ("sqlite", "sqlite", cfg!(feature = "sqlite")),
        ("postgres", "postgres", cfg!(feature = "postgres")),
        ("postgresql", "postgres", cfg!(feature = "postgres")),
        ("mysql", "mysql", cfg!(feature = "mysql")),
        ("mariadb", "mysql", cfg!(feature = "mysql")),
        ("redis", "redis", cfg!(feature = "redis")),
        ("rediss", "redis", cfg!(feature = "redis")),
    ];
    for (scheme, feature, _) in schemes.into_iter().filter(|(.., on)| !on) {
        let error = connect(&format!("{scheme}://ada:secret@localhost")).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("cargo feature `{feature}`")), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

// M1
#[tokio::test]
async fn a_url_without_a_scheme_is_an_error_that_shows_one() {
    for url in ["", "sessions.db", "/var/lib/sessions.db"] {
        let error = connect(url).await.unwrap_err();
        assert_eq!(error, ConnectError::NoScheme, "{url:?}");
        assert!(error.to_string().contains("sqlite://sessions.db"), "{error}");
    }
}

// M1, E2
#[tokio::test]
async fn a_url_with_a_mistyped_scheme_is_not_repeated() {
    for url in ["postgres//user:secret@host", "//user:secret@host", ":secret", "my db:secret"] {
        let error = connect(url).await.unwrap_err();
        assert_eq!(error, ConnectError::NoScheme, "{url:?}");
        for text in [error.to_string(), format!("{error:?}")] {
            for part in ["postgres", "user", "secret", "host", "my db"] {
                assert!(!text.contains(part), "{text}");
            }
        }
    }
}

// M1
#[tokio::test]
async fn memory_takes_no_path() {
    for url in ["memory:", "memory://", "Memory:"] {
        assert!(connect(url).await.is_ok(), "{url:?}");
    }
    for url in ["memory:sessions", "memory://sessions"] {
        assert_eq!(connect(url).await.unwrap_err(), ConnectError::MemoryWithPath, "{url:?}");
    }
}

on_each_driver! {
    // M1
    async fn a_url_picks_its_driver(storage) {
        let driver = connect(&storage.url).await.unwrap();
        let sessions = SessionLayer::builder(driver)
            .auto_create(AutoCreate::Missing)
            .build()
            .await
            .unwrap();
        let id = sessions.manager().create().await.unwrap();
        assert!(sessions.manager().load_id(&id.expose()).await.unwrap());
    }

    // M1
    async fn a_layer_of_defaults_needs_nothing_but_a_driver(storage) {
        let sessions = SessionLayer::new(storage.driver.clone());
        let response = request(&sessions, &[], async |session| {
            session.store("shop").unwrap().set("n", &1).unwrap();
        }).await;
        let manager = sessions.manager();
        assert!(manager.load_id(&given_id(&response).expose()).await.unwrap());
        let stored = manager.store("shop").unwrap().get::<u64>("n").await;
        assert_eq!(stored, Ok(Some(1)));
    }

    // M2
    async fn a_new_session_lives_as_long_as_it_is_configured(storage) {
        let rig = rig_with(storage, |builder| builder.expire(Duration::from_millis(90_001))).await;
        let explicit = rig.session().await;
        let implicit = given_id(&rig.visit(async |session| {
            session.store("shop").unwrap().set("n", &1).unwrap();
        }).await);
        rig.clock.advance(Duration::from_millis(90_000));
        assert!(rig.loads(explicit).await && rig.loads(implicit).await);
        rig.clock.advance(MILLISECOND);
        assert!(!rig.loads(explicit).await && !rig.loads(implicit).await);
    }

    // M2
    async fn a_new_session_lives_24_hours_by_default(storage) {
        let rig = rig(storage).await;
        let id = rig.session().await;
        rig.clock.advance(DAY - MILLISECOND);
        assert!(rig.loads(id).await);
        rig.clock.advance(MILLISECOND);
        assert!(!rig.loads(id).await);
    }
}

// M2, E3
#[tokio::test]
async fn a_lifetime_below_a_millisecond_is_an_error_of_build() {
    for lifetime in [Duration::ZERO, Duration::from_nanos(999_999)] {
        let layer = SessionLayer::builder(MemoryDriver::new()).expire(lifetime).build().await;
        assert_eq!(layer.unwrap_err(), BuildError::Config(ConfigError::Expire));
    }
    assert!(SessionLayer::builder(MemoryDriver::new()).expire(MILLISECOND).build().await.is_ok());
}

// M3, E3
#[tokio::test]
async fn a_cookie_that_user_agents_would_drop_is_an_error_of_build() {
    let cookie = CookieConfig::default().with_name("__Host-id").with_path("/shop");
    let layer = SessionLayer::builder(MemoryDriver::new()).cookie(cookie).build().await;
    assert_eq!(layer.unwrap_err(), BuildError::Config(ConfigError::HostPrefix));
}

// M6, E3
#[tokio::test]
async fn a_probability_outside_0_to_1_is_an_error_of_build() {
    let build = |probability| {
        SessionLayer::builder(MemoryDriver::new()).cleanup_probability(probability).build()
    };
    for probability in [-0.000_001, 1.000_001, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let error = build(probability).await.unwrap_err();
        let named = matches!(error, BuildError::Config(ConfigError::CleanupProbability(_)));
        assert!(named, "{probability}: {error:?}");
    }
    for probability in [0.0, -0.0, 0.05, 1.0] {
        assert!(build(probability).await.is_ok(), "{probability}");
    }
}

async fn first_id(seed: Option<&str>, random: impl RandomSource) -> SessionId {
    let rig = rig_with(memory(), |builder| match seed {
        Some(seed) => builder.seed(seed).random(random),
        None => builder.random(random),
    })
    .await;
    let response = rig
        .visit(async |session| {
            session.create().await.unwrap();
        })
        .await;
    given_id(&response)
}

// M5
#[tokio::test]
async fn a_seed_changes_the_ids_that_the_same_randomness_gives() {
    let id = first_id(Some("shop"), Fixed(7)).await;
    assert_eq!(id, first_id(Some("shop"), Fixed(7)).await);
    for other in ["", "Shop", "shop\0", "PythonWeb"] {
        assert_ne!(id, first_id(Some(other), Fixed(7)).await, "{other:?}");
    }
}

// M5: the documented formula, computed by another implementation.
#[tokio::test]
async fn an_id_is_the_beginning_of_the_hash_of_randomness_and_seed() {
    for (seed, random, id) in [
        (None, 0, "789d384a9f9617b0320a685ec4fe75c6"),
        (Some("shop"), 7, "f5042eaf995e1610b149fefbcf571bbb"),
        (Some(""), 7, "7c87c3b8f2da19fe841e74b9bbcbd510"),
    ] {
        let drawn = first_id(seed, Fixed(random)).await;
        assert_eq!(drawn.expose().as_str(), id, "{seed:?}");
    }
}

// M5
#[tokio::test]
async fn a_known_seed_makes_no_id_predictable() {
    let [one, other] =
        [first_id(Some("shop"), OsRandom).await, first_id(Some("shop"), OsRandom).await];
    assert_ne!(one, other);
}

#[derive(Debug)]
struct NoRandomness;

impl RandomSource for NoRandomness {
    fn fill(&self, _bytes: &mut [u8]) -> Result<(), RandomError> {
        Err(RandomError)
    }
}

// M5
#[tokio::test]
async fn without_randomness_no_session_is_created() {
    let rig = rig_with(memory(), |builder| builder.random(NoRandomness)).await;
    let response = rig
        .visit(async |session| {
            assert_eq!(session.create().await, Err(SessionError::Random(RandomError)));
            session.store("shop").unwrap().set("n", &1).unwrap();
        })
        .await;
    assert_eq!(response.status(), 500);
    assert_eq!(rig.driver.calls(), [""; 0]);
}
