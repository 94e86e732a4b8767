//! JSON Schemas of the types whose text form is our own, for the OpenAPI document. What has fields derives its schema
//! where it is defined.
//!
//! Each pattern says no more and no less than the type's `parse`: the tests below read what the patterns describe.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    DeviceId, EmailAddress, FirmwareVersion, MacAddress, RecordId, RequestId, Role, SessionId, Sku,
    UnixMillis, UserId,
};

macro_rules! text_schema {
    ($($name:ident: $schema:tt),* $(,)?) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_id() -> Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($name)).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

text_schema!(
    DeviceId: {
        "type": "string", "pattern": "^[0-9a-f]{32}$",
        "description": "A device's identity, derived from its MAC address.",
        "examples": ["3e32e97b9d6cf5e193d3a3a7e8fd9a97"],
    },
    MacAddress: {
        "type": "string", "pattern": "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$",
        "description": "A MAC address. Answers have it in capitals.",
        "examples": ["AA:BB:CC:DD:EE:FF"],
    },
    Sku: {
        "type": "string", "enum": [Sku::Lite.as_str(), Sku::Pro.as_str()],
        "description": "A product variant: `rs1_lite` senses presence and has no zones, `rs1_pro` sees positions.",
    },
    Role: {
        "type": "string", "enum": Role::ALL.map(Role::as_str),
        "description": "A person's part in a device: all three see it, an owner or admin changes it, an owner shares it and gives it up.",
    },
    RequestId: {
        "type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$",
        "description": "The id of one request: the caller's `X-Request-Id`, or one of ours.",
        "examples": ["req-01KDQ3Y8E0C8M4T6R2V9W1X5Z7"],
    },
    RecordId: {
        "type": "string", "pattern": "^[a-z]{3}-[0-9A-HJKMNP-TV-Z]{26}$",
        "description": "The id of a stored record: a prefix that names its kind, and a ULID.",
        "examples": ["rol-01KDQ3Y8E0C8M4T6R2V9W1X5Z7"],
    },
    UserId: {
        "type": "string", "pattern": "^usr-[0-9A-HJKMNP-TV-Z]{26}$",
        "description": "A user of the app.",
        "examples": ["usr-01KDQ3Y8E0C8M4T6R2V9W1X5Z7"],
    },
    SessionId: {
        "type": "string", "pattern": "^ses-[0-9A-HJKMNP-TV-Z]{26}$",
        "description": "A user's session.",
        "examples": ["ses-01KDQ3Y8E0C8M4T6R2V9W1X5Z7"],
    },
    EmailAddress: {
        "type": "string", "pattern": "^[^@\\s\\x00-\\x20\\x7f-\\x9f]+@[^@\\s\\x00-\\x20\\x7f-\\x9f]+$",
        "minLength": 3, "maxLength": 254,
        "description": "An e-mail address, at most 254 bytes. Case makes no difference: answers have it in lower case.",
        "examples": ["ada@example.com"],
    },
    UnixMillis: {
        "type": "string", "format": "date-time",
        "description": "An instant, RFC 3339. Answers have it in UTC, with milliseconds where there are any.",
        "examples": ["2026-01-20T10:00:00Z"],
    },
    FirmwareVersion: {
        "type": "string", "pattern": "^[0-9]+\\.[0-9]+\\.[0-9]+(-[A-Za-z0-9.]+)?$",
        "maxLength": FirmwareVersion::MAX_LENGTH,
        "description": "A firmware version; precedence is that of Semantic Versioning.",
        "examples": ["1.2.0", "1.2.0-rc.1"],
    },
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;
    use serde_json::Value;

    use super::*;

    fn schema_of<T: JsonSchema>() -> Value {
        T::json_schema(&mut SchemaGenerator::default()).to_value()
    }

    /// Texts that a type's pattern describes, and that are not longer than its schema allows.
    fn texts_of<T: JsonSchema>() -> impl Strategy<Value = String> {
        let schema = schema_of::<T>();
        let pattern = schema["pattern"].as_str().unwrap().trim_start_matches('^').trim_end_matches('$');
        let most = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
        string_regex(pattern)
            .unwrap()
            .prop_filter("longer than maxLength", move |text| u64::try_from(text.len()).unwrap() <= most)
    }

    #[test]
    fn examples_and_enumerated_names_are_read() {
        let read = |type_: &str, text: &str| match type_ {
            "DeviceId" => DeviceId::parse(text).is_some(),
            "MacAddress" => MacAddress::parse(text).is_some(),
            "Sku" => Sku::parse(text).is_some(),
            "Role" => Role::parse(text).is_some(),
            "RequestId" => RequestId::from_header(text).is_some(),
            "RecordId" => RecordId::parse("rol", text).is_some(),
            "UserId" => UserId::parse(text).is_some(),
            "SessionId" => SessionId::parse(text).is_some(),
            "EmailAddress" => EmailAddress::parse(text).is_some(),
            "UnixMillis" => UnixMillis::parse_rfc3339(text).is_some(),
            "FirmwareVersion" => FirmwareVersion::parse(text).is_some(),
            other => panic!("{other} is not read here"),
        };
        for (name, schema) in [
            (DeviceId::schema_name(), schema_of::<DeviceId>()),
            (MacAddress::schema_name(), schema_of::<MacAddress>()),
            (Sku::schema_name(), schema_of::<Sku>()),
            (Role::schema_name(), schema_of::<Role>()),
            (RequestId::schema_name(), schema_of::<RequestId>()),
            (RecordId::schema_name(), schema_of::<RecordId>()),
            (UserId::schema_name(), schema_of::<UserId>()),
            (SessionId::schema_name(), schema_of::<SessionId>()),
            (EmailAddress::schema_name(), schema_of::<EmailAddress>()),
            (UnixMillis::schema_name(), schema_of::<UnixMillis>()),
            (FirmwareVersion::schema_name(), schema_of::<FirmwareVersion>()),
        ] {
            let texts = schema.get("examples").or(schema.get("enum")).unwrap().as_array().unwrap();
            for text in texts {
                assert!(read(&name, text.as_str().unwrap()), "{name}: {text}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_a_pattern_describes_is_read(
            device in texts_of::<DeviceId>(), mac in texts_of::<MacAddress>(), request in texts_of::<RequestId>(),
            user in texts_of::<UserId>(), session in texts_of::<SessionId>(), record in texts_of::<RecordId>(),
            email in texts_of::<EmailAddress>(), version in texts_of::<FirmwareVersion>(),
        ) {
            prop_assert!(DeviceId::parse(&device).is_some(), "{device:?}");
            prop_assert!(MacAddress::parse(&mac).is_some(), "{mac:?}");
            prop_assert!(RequestId::from_header(&request).is_some(), "{request:?}");
            prop_assert!(UserId::parse(&user).is_some(), "{user:?}");
            prop_assert!(SessionId::parse(&session).is_some(), "{session:?}");
            let ulid = record.split_once('-').unwrap().1;
            prop_assert!(RecordId::parse("rol", &format!("rol-{ulid}")).is_some(), "{record:?}");
            prop_assert!(EmailAddress::parse(&email).is_some(), "{email:?}");
            prop_assert!(FirmwareVersion::parse(&version).is_some(), "{version:?}");
        }
    }
}
