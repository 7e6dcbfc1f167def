"""The gRPC surface. Translates between messages and the model; decides nothing."""
