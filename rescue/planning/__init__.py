"""Pure functions: what was found and what a person asked for become a Plan, or a refusal with a remedy."""
