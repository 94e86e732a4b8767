//! Why a client disconnected, in EMQX's words (`emqx_channel.erl`, `emqx_reason_codes:name/1`,
//! `emqx_rule_events:reason/1`).

use rmqtt::codec::v5::{DisconnectReasonCode as Code, PublishAckReason};
use rmqtt::net::MqttError;
use rmqtt::types::{Disconnect, Reason};

/// The name of a reason. `said` is the client's own DISCONNECT, `replaced_by_clean_start` says whether
/// another connection of its client id took over, and how.
pub fn name(
    reason: &Reason,
    said: Option<&Disconnect>,
    replaced_by_clean_start: Option<bool>,
) -> &'static str {
    match said {
        Some(Disconnect::V5(disconnect)) => return code_name(disconnect.reason_code),
        Some(_) => return "normal",
        None => {}
    }
    match reason {
        Reason::ConnectKicked(true) => "kicked",
        Reason::ConnectKicked(false) if replaced_by_clean_start == Some(true) => "discarded",
        Reason::ConnectKicked(false) => "takenover",
        Reason::ConnectKeepaliveTimeout | Reason::ConnectReadWriteTimeout => "keepalive_timeout",
        Reason::ConnectRemoteClose | Reason::ConnectReadWriteError => "tcp_closed",
        Reason::ConnectDisconnect(_) => "normal",
        Reason::PublishResult(result) if result.reason_code == PublishAckReason::NotAuthorized => {
            "not_authorized"
        }
        Reason::MqttError(MqttError::PublishAckReason(PublishAckReason::NotAuthorized, _))
        | Reason::SubscribeRefused => "not_authorized",
        Reason::MqttError(MqttError::Decode(_)) => "malformed_packet",
        Reason::MqttError(MqttError::Protocol(_)) | Reason::ProtocolError(_) => "protocol_error",
        Reason::Reasons(reasons) => {
            reasons.first().map_or("internal_error", |first| name(first, None, replaced_by_clean_start))
        }
        // A socket that breaks (a reset) reaches us as the text of an I/O error.
        Reason::Error(text) if is_connection_error(text) => "tcp_closed",
        _ => "internal_error",
    }
}

/// Whether the client's own DISCONNECT asks for its will to be published all the same: only reason
/// code 0 withdraws it (MQTT 5.0, 3.1.2.5).
pub fn keeps_will(said: &Disconnect) -> bool {
    matches!(said, Disconnect::V5(disconnect) if disconnect.reason_code != Code::NormalDisconnection)
}

fn is_connection_error(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["connection reset", "broken pipe", "connection aborted", "os error"]
        .iter()
        .any(|part| text.contains(part))
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::NormalDisconnection => "normal",
        Code::DisconnectWithWillMessage => "disconnect_with_will_message",
        Code::UnspecifiedError => "unspecified_error",
        Code::MalformedPacket => "malformed_packet",
        Code::ProtocolError => "protocol_error",
        Code::ImplementationSpecificError => "implementation_specific_error",
        Code::NotAuthorized => "not_authorized",
        Code::ServerBusy => "server_busy",
        Code::ServerShuttingDown => "server_shutting_down",
        Code::BadAuthenticationMethod => "bad_authentication_method",
        Code::KeepAliveTimeout => "keepalive_timeout",
        Code::SessionTakenOver => "session_taken_over",
        Code::TopicFilterInvalid => "topic_filter_invalid",
        Code::TopicNameInvalid => "topic_name_invalid",
        Code::ReceiveMaximumExceeded => "receive_maximum_exceeded",
        Code::TopicAliasInvalid => "topic_alias_invalid",
        Code::PacketTooLarge => "packet_too_large",
        Code::MessageRateTooHigh => "message_rate_too_high",
        Code::QuotaExceeded => "quota_exceeded",
        Code::AdministrativeAction => "administrative_action",
        Code::PayloadFormatInvalid => "payload_format_invalid",
        Code::RetainNotSupported => "retain_not_supported",
        Code::QosNotSupported => "qos_not_supported",
        Code::UseAnotherServer => "use_another_server",
        Code::ServerMoved => "server_moved",
        Code::SharedSubscriptionNotSupported => "shared_subscriptions_not_supported",
        Code::ConnectionRateExceeded => "connection_rate_exceeded",
        Code::MaximumConnectTime => "maximum_connect_time",
        Code::SubscriptionIdentifiersNotSupported => "subscription_identifiers_not_supported",
        Code::WildcardSubscriptionsNotSupported => "wildcard_subscriptions_not_supported",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v5(reason_code: Code) -> Disconnect {
        Disconnect::V5(rmqtt::codec::v5::Disconnect { reason_code, ..Default::default() })
    }

    #[test]
    fn a_clients_own_disconnect_says_why() {
        for (said, expected, will) in [
            (Disconnect::V3, "normal", false),
            (v5(Code::NormalDisconnection), "normal", false),
            (v5(Code::DisconnectWithWillMessage), "disconnect_with_will_message", true),
            (v5(Code::UnspecifiedError), "unspecified_error", true),
        ] {
            // The socket closes behind it, which is not the reason.
            assert_eq!(name(&Reason::ConnectRemoteClose, Some(&said), None), expected);
            assert_eq!(keeps_will(&said), will, "{expected}");
        }
    }

    #[test]
    fn otherwise_it_is_what_ended_the_connection() {
        let denied = rmqtt::types::PublishResult::reason_code(PublishAckReason::NotAuthorized, None, true);
        for (reason, replaced, expected) in [
            (Reason::ConnectRemoteClose, None, "tcp_closed"),
            (Reason::ConnectKeepaliveTimeout, None, "keepalive_timeout"),
            (Reason::ConnectKicked(true), None, "kicked"),
            (Reason::ConnectKicked(false), Some(false), "takenover"),
            (Reason::ConnectKicked(false), Some(true), "discarded"),
            (Reason::PublishResult(denied), None, "not_authorized"),
            (Reason::Error("Connection reset by peer (os error 104)".into()), None, "tcp_closed"),
            (Reason::Unknown, None, "internal_error"),
        ] {
            assert_eq!(name(&reason, None, replaced), expected, "{reason:?}");
        }
    }
}
