//! The model APIs as small scripts: what a request looks like, and the pieces of a streamed answer.

use serde_json::Value;

/// One model API.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// The name in a route's `dialect`.
    pub name: &'static str,
    /// Path and query of a streamed generation.
    pub target: &'static str,
    /// A request's body.
    pub request: &'static str,
    /// What the answer is.
    pub content_type: &'static str,
    /// Events before the end.
    pub events: &'static [&'static str],
    /// The event with the finish reason; empty where only the marker says it.
    pub finish: &'static str,
    /// The terminal event; empty where the API has none beside the finish reason.
    pub marker: &'static str,
}

/// OpenAI chat completions.
pub const CHAT: Api = Api {
    name: "openai-chat",
    target: "/v1/chat/completions",
    request: r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#,
    content_type: "text/event-stream",
    events: &[
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"finish_reason\":null}]}\n\n",
    ],
    finish: "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    marker: "data: [DONE]\n\n",
};

/// OpenAI completions.
pub const TEXT: Api = Api {
    name: "openai-text",
    target: "/v1/completions",
    request: r#"{"model":"m","stream":true,"prompt":"Hi"}"#,
    content_type: "text/event-stream",
    events: &[
        "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"Hel\",\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"lo\",\"finish_reason\":null}]}\n\n",
    ],
    finish: "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n",
    marker: "data: [DONE]\n\n",
};

/// OpenAI Responses.
pub const RESPONSES: Api = Api {
    name: "openai-responses",
    target: "/v1/responses",
    request: r#"{"model":"m","stream":true,"input":"Hi"}"#,
    content_type: "text/event-stream",
    events: &[
        "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\",\"object\":\"response\",\"status\":\"in_progress\"}}\n\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"item_id\":\"i\",\"output_index\":0,\"content_index\":0,\"delta\":\"Hello\"}\n\n",
    ],
    finish: "",
    marker: "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":2,\"response\":{\"id\":\"r\",\"object\":\"response\",\"status\":\"completed\"}}\n\n",
};

/// Anthropic Messages.
pub const MESSAGES: Api = Api {
    name: "anthropic-messages",
    target: "/v1/messages",
    request: r#"{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#,
    content_type: "text/event-stream",
    events: &[
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
    ],
    finish: "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
    marker: "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
};

/// Gemini, streamed as events.
pub const GEMINI: Api = Api {
    name: "gemini",
    target: "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    request: r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#,
    content_type: "text/event-stream",
    events: &[
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hel\"}],\"role\":\"model\"},\"index\":0}]}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"lo\"}],\"role\":\"model\"},\"index\":0}]}\r\n\r\n",
    ],
    finish: "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}]}\r\n\r\n",
    marker: "",
};

/// Ollama's own API, lines of JSON.
pub const OLLAMA: Api = Api {
    name: "ollama",
    target: "/api/chat",
    request: r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#,
    content_type: "application/x-ndjson",
    events: &[
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"Hel\"},\"done\":false}\n",
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"lo\"},\"done\":false}\n",
    ],
    finish: "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n",
    marker: "",
};

/// Every model API whose answers are text.
pub const MODELS: [Api; 6] = [CHAT, TEXT, RESPONSES, MESSAGES, GEMINI, OLLAMA];

/// No model API: a plain event stream.
pub const PLAIN: Api = Api {
    name: "plain",
    target: "/events",
    request: "{}",
    content_type: "text/event-stream",
    events: &["data: one\n\n", "id: 2\ndata: two\n\n"],
    finish: "",
    marker: "",
};

impl Api {
    /// A POST of this API's request.
    pub fn ask(&self) -> super::Ask {
        super::Ask::post(self.target, self.request)
    }

    /// The head of a streamed answer, with this framing line.
    pub fn head(&self, framing: &str) -> Vec<u8> {
        let content_type = format!("Content-Type: {}", self.content_type);
        super::wire::head("HTTP/1.1 200 OK", &[&content_type, framing])
    }

    /// The events before the end, together.
    pub fn begun(&self) -> String {
        self.events.concat()
    }

    /// The whole answer.
    pub fn whole(&self) -> String {
        self.begun() + self.finish + self.marker
    }

    /// Whether `tail` is nothing but one error of this API, as its SDKs look for it.
    pub fn is_error(&self, tail: &[u8]) -> bool {
        let Ok(tail) = std::str::from_utf8(tail) else {
            return false;
        };
        if self.content_type == OLLAMA.content_type {
            let line: Option<Value> = tail
                .strip_suffix('\n')
                .and_then(|l| serde_json::from_str(l).ok());
            return line.is_some_and(|line| line["error"].is_string());
        }
        let Some(block) = tail
            .strip_suffix("\n\n")
            .or_else(|| tail.strip_suffix("\r\n\r\n"))
        else {
            return false;
        };
        if block.contains("\n\n") || block.contains("\r\n\r\n") {
            return false;
        }
        let lines = || block.lines();
        let Some(data) = lines().find_map(|line| line.strip_prefix("data:")) else {
            return false;
        };
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        let named = lines().any(|line| line == "event: error") && data["type"] == "error";
        let text = data["error"]["message"].is_string() || data["message"].is_string();
        match self.name {
            "anthropic-messages" => named && data["error"]["type"].is_string() && text,
            "openai-responses" => named && text,
            _ => data["error"]["message"].is_string(),
        }
    }
}
