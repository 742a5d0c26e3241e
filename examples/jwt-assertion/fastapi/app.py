import os
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException

issuer = os.environ["SALLYPORT_ISSUER"]  # https://login.access.example.com
audience = os.environ["SALLYPORT_APPLICATION_ID"]  # sallyport app show NAME
keys = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json", lifespan=300)


def require_person(sallyport_jwt_assertion: Annotated[str, Header()] = "") -> dict:
    try:
        key = keys.get_signing_key_from_jwt(sallyport_jwt_assertion)
        return jwt.decode(
            sallyport_jwt_assertion,
            key.key,
            algorithms=["ES256"],
            issuer=issuer,
            audience=audience,
            leeway=30,
            options={"require": ["sub", "exp"]},
        )
    except jwt.PyJWKClientConnectionError as error:
        raise HTTPException(503) from error
    except jwt.PyJWTError as error:
        raise HTTPException(401) from error


app = FastAPI()


@app.get("/")
def read_root(person: Annotated[dict, Depends(require_person)]):
    return {
        "id": person["sub"],
        "name": person["preferred_username"],
        "groups": person.get("groups"),
    }
