"""sidegate in web frameworks and gRPC servers: one module for each, thin over a core that imports none of them.

`fastapi`, `starlette`, `flask`, `django` and `grpc` are what a service imports; `policy` says how its tokens travel;
`supertokens` has the names that a backend coming from there looks for.
"""
