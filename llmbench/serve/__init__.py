"""The loopback endpoint in OpenAI's dialect: any client in any language asks the tiers (`llmbench serve`)."""
