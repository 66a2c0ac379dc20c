-- For `luarocks make` in this folder. realmstore.lua and librealmstore.so.1 come with `make install` of the project.
rockspec_format = "3.0"
package = "kong-plugin-realm-auth"
version = "0.1.0-1"
source = { url = "file://." }
description = {
  summary = "API keys turned into consumers from the host's Realmstore store",
  detailed = "What Kong's key-auth does, with consumers that Kong's own configuration does not hold.",
}
supported_platforms = { "linux" }
dependencies = { "lua == 5.1" }
build = {
  type = "builtin",
  modules = {
    ["kong.plugins.realm-auth.consumers"] = "kong/plugins/realm-auth/consumers.lua",
    ["kong.plugins.realm-auth.handler"] = "kong/plugins/realm-auth/handler.lua",
    ["kong.plugins.realm-auth.identity"] = "kong/plugins/realm-auth/identity.lua",
    ["kong.plugins.realm-auth.key"] = "kong/plugins/realm-auth/key.lua",
    ["kong.plugins.realm-auth.schema"] = "kong/plugins/realm-auth/schema.lua",
  },
}
