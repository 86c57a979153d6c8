"""The content-addressed cache of models and code inside a cluster, and the init container that fetches from it.

    studio ──PUT chunks, through the API server's proxy──> serve ──GET, in the cluster──> fetch (before each replica)

A pod template names what it needs by SHA-256 only, so that a replica can start (or start again, years later) while the
studio is away, and no address in it expires. `fetch` imports the standard library only: it runs before every replica.
"""
