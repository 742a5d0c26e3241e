import { type Xml, xml } from './xml.ts'

/** A message in a SOAP 1.1 envelope (SAML bindings section 3.2.2). What is signed in it stays as it is. */
export function toSoap(message: Xml): string {
  return xml`<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>${message}</soap:Body></soap:Envelope>`
    .text
}
