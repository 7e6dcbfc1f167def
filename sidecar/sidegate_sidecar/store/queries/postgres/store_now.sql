-- The store's clock.
SELECT sidegate.store_now()
