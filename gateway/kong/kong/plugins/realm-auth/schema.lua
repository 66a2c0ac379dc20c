--- schema.lua - the plugin's configuration: key-auth's fields, where keys are looked for, and this host's store.
local typedefs = require "kong.db.schema.typedefs"

return {
  name = "realm-auth",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { key_names = {
          description = "Names of the header, query argument or body member that the key is looked for in, in order.",
          type = "array", required = true, elements = typedefs.header_name, default = { "apikey" }, len_min = 1,
        } },
        { key_in_header = {
          description = "Whether the request's headers are searched.",
          type = "boolean", required = true, default = true,
        } },
        { key_in_query = {
          description = "Whether the query arguments are searched.",
          type = "boolean", required = true, default = true,
        } },
        { key_in_body = {
          description = "Whether form and JSON bodies are searched.",
          type = "boolean", required = true, default = false,
        } },
        { hide_credentials = {
          description = "Whether the key is taken out of the request before the upstream sees it.",
          type = "boolean", required = true, default = false,
        } },
        { anonymous = {
          description = "Id or username of the control plane's own consumer who stands in where there is no valid key.",
          type = "string",
        } },
        { run_on_preflight = {
          description = "Whether OPTIONS requests need a key, too.",
          type = "boolean", required = true, default = true,
        } },
        { realm = {
          description = "What WWW-Authenticate says as realm when a request is refused.",
          type = "string",
        } },
        { identity_realms = {
          description = "Where keys are looked for, in order: realms, and the control plane's own consumers (cp).",
          type = "array", default = { { scope = "cp" } }, len_min = 1, len_max = 64,
          elements = {
            type = "record",
            fields = {
              { scope = { type = "string", required = true, one_of = { "cp", "realm" } } },
              { id = { type = "string", uuid = true } },
              { region = { type = "string", len_max = 63, match = "^[a-z0-9-]+$" } },
            },
            entity_checks = {
              { conditional = {
                if_field = "scope", if_match = { eq = "realm" },
                then_field = "id", then_match = { required = true },
              } },
            },
          },
        } },
        { store_dir = {
          description = "The agent's store_dir on this host.",
          type = "string", required = true, default = "/var/lib/realm-agent", match = "^/",
        } },
        { on_stale = {
          description = "What to do with a consumer who is older than the realm's ttl allows: serve or deny.",
          type = "string", required = true, default = "serve", one_of = { "serve", "deny" },
        } },
      },
    } },
  },
}
