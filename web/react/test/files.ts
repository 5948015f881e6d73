/** A file with bytes that tell where they belong. */
export function fileOf(size: number, name = 'data.h5', type = ''): File {
  const bytes = new Uint8Array(size)
  for (let index = 0; index < size; index += 1) bytes[index] = (index * 31 + (index >> 8)) & 255
  return new File([bytes], name, { type, lastModified: 1_700_000_000_000 })
}

/** Its bytes, to compare with what a server has. */
export async function bytesOf(file: File): Promise<Buffer> {
  const result = await new Promise((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve(reader.result)
    reader.onerror = reject
    reader.readAsArrayBuffer(file)
  })
  return Buffer.from(result as ArrayBuffer)
}
