//! The codes that servers name their errors by, as they are without case and punctuation.

use crate::config::Trouble;

/// What each code means; of several the first row counts.
pub(super) const TABLE: [(Trouble, &[&str]); 9] = [
    (Trouble::ContentFilter, CONTENT_FILTER),
    (Trouble::ContextLength, CONTEXT_LENGTH),
    (Trouble::Quota, QUOTA),
    (Trouble::Overloaded, OVERLOADED),
    (Trouble::RateLimited, RATE_LIMITED),
    (Trouble::UnknownModel, UNKNOWN_MODEL),
    (Trouble::Credentials, CREDENTIALS),
    (Trouble::Transient, TRANSIENT),
    (Trouble::Failed, FAILED),
];

const CONTENT_FILTER: &[&str] = &[
    // OpenAI, Azure, Moonshot
    "contentfilter",
    "contentfiltererror",
    "contentpolicyviolation",
    "responsibleaipolicyviolation",
    "moderationblocked",
    // Gemini: reasons to block a prompt, where they come as an error.
    "prohibitedcontent",
    "safety",
    "blocklist",
    "imagesafety",
    // DashScope
    "datainspectionfailed",
    "inappropriatecontent",
    // Volcengine Ark
    "sensitivecontentdetected",
    "inputtextsensitivecontentdetected",
    "inputimagesensitivecontentdetected",
    "outputtextsensitivecontentdetected",
    // Zhipu's word, StepFun's
    "sensitive",
    "censorshipblocked",
];

const CONTEXT_LENGTH: &[&str] = &[
    // OpenAI, Azure, Groq, Cerebras, xAI
    "contextlengthexceeded",
    "contextwindowexceeded",
    "contextwindowexceedederror",
    // llama.cpp
    "exceedcontextsizeerror",
    "contextexceeded",
    // Copilot
    "modelmaxprompttokensexceeded",
    // Cohere
    "toomanytokens",
    // Zhipu
    "1261",
];

const QUOTA: &[&str] = &[
    // OpenAI and its many
    "402",
    "insufficientquota",
    "billinghardlimitreached",
    "billingnotactive",
    "quotaexceeded",
    // Anthropic
    "billingerror",
    // DeepSeek, Together, OpenRouter
    "insufficientbalance",
    "insufficientcredits",
    "creditlimit",
    // Moonshot
    "exceededcurrentquotaerror",
    // DashScope, Ark
    "arrearage",
    "allocationquotafreetieronly",
    "accountoverdueerror",
    "overduebalance",
    // Zhipu
    "1113",
    // Bedrock
    "servicequotaexceededexception",
];

const OVERLOADED: &[&str] = &[
    "503",
    "529",
    // Anthropic, TGI
    "overloadederror",
    "overloaded",
    // OpenAI
    "slowdown",
    "serverisoverloaded",
    // Moonshot
    "engineoverloadederror",
    // Gemini; llama.cpp while it loads
    "unavailable",
    "unavailableerror",
    // Bedrock
    "serviceunavailableexception",
    "modelnotreadyexception",
    // Groq's flex tier
    "capacityexceeded",
    "serviceunavailable",
    "serviceunavailableerror",
];

const RATE_LIMITED: &[&str] = &[
    "429",
    // OpenAI, Groq; Google's details
    "ratelimitexceeded",
    "ratelimiterror",
    "ratelimitreached",
    "ratelimitreachederror",
    "ratelimited",
    "ratelimit",
    "ratelimitexceedederror",
    "requestsperminutelimitexceeded",
    "userratelimitexceeded",
    "toomanyrequests",
    "toomanyrequestserror",
    "toomanyrequestsexception",
    // Gemini
    "resourceexhausted",
    // Bedrock
    "throttlingexception",
    "throttling",
    "throttlingratequota",
    "throttlingallocationquota",
    "limitrequests",
    // Mistral
    "servicetiercapacityexceeded",
];

const UNKNOWN_MODEL: &[&str] = &[
    // OpenAI, Groq, Cerebras, DashScope
    "modelnotfound",
    "modelnotfounderror",
    "modelnotfoundexception",
    "modeldecommissioned",
    // Azure, and its models from elsewhere
    "deploymentnotfound",
    "unknownmodel",
    "unavailablemodel",
    // Mistral, Perplexity
    "invalidmodel",
    "invalidmodelerror",
    // Together, Hugging Face
    "modelnotavailable",
    "modelnotsupported",
    // Ark
    "invalidendpointormodelnotfound",
    "modelnotopen",
    // Zhipu
    "1211",
];

const CREDENTIALS: &[&str] = &[
    "invalidapikey",
    "authenticationerror",
    "invalidauthenticationerror",
    "permissionerror",
    "permissiondeniederror",
    // Google
    "apikeyinvalid",
    "apikeyserviceblocked",
    "unauthenticated",
    "permissiondenied",
    "iampermissiondenied",
    // Bedrock
    "accessdeniedexception",
    "unrecognizedclientexception",
    "expiredtokenexception",
    "invalidsignatureexception",
    "missingauthenticationtokenexception",
];

const TRANSIENT: &[&str] = &[
    // Google
    "cancelled",
    "aborted",
    // Bedrock
    "modeltimeoutexception",
];

/// Said with 424, as if it were the caller's fault.
const FAILED: &[&str] = &[
    // Bedrock
    "modelerrorexception",
    "modelstreamerrorexception",
    // TGI
    "generation",
];

/// Codes by which a request was refused, where no status says so.
pub(super) const REFUSED: &[&str] = &[
    "invalidrequesterror",
    "invalidargument",
    "badrequest",
    "badrequesterror",
    "validationexception",
    "notfounderror",
    "requesttoolarge",
    "failedprecondition",
    "invalidprompt",
];
