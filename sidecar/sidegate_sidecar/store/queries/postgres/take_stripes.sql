-- Until the transaction ends: what is named is registered and revoked in order with everybody else's.
SELECT sidegate.take_stripes($1, $2, $3, $4::text []::boolean [])
