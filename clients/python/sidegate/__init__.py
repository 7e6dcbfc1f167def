"""sidegate's client: is this access token good right now, and whose session is it?"""
